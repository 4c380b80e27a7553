"""Where runs are, as a fold over facts."""

from dataclasses import replace

from rapidfire_cli.control.standing import Standing, learn
from rapidfire_cli.facts import (
    BracketBegun,
    Fact,
    RunAdmitted,
    RunChanged,
    RunLeft,
    RunPurged,
    RunReplaced,
    Saved,
)
from rapidfire_cli.terms import OomRetry, Run, RunState

RETRY = Run(3, "0123456789abcdef", 1, "{}", 42, 0, OomRetry(1))


def after(*facts: Fact) -> dict[int, Standing]:
    standings = {1: Standing(), 2: Standing(stopping=True)}
    for fact in facts:
        learn(standings, fact)
    return standings


def test_a_change_of_state_ends_a_stop_that_was_asked_for():
    assert after(RunChanged(2, RunState.STOPPED))[2] == Standing(RunState.STOPPED)
    assert after(Saved(2, 1, 1))[2].stopping


def test_a_deleted_run_remembers_what_it_was_until_it_is_purged():
    deleted = RunChanged(1, RunState.COMPLETED), RunChanged(1, RunState.DELETED)
    assert after(*deleted)[1] == Standing(RunState.DELETED, former=RunState.COMPLETED)
    assert after(*deleted, RunPurged(1))[1] == Standing(RunState.DELETED)
    assert after(*deleted, RunChanged(1, RunState.COMPLETED))[1] == Standing(RunState.COMPLETED)


def test_a_run_is_in_its_bracket_until_it_leaves():
    begun = BracketBegun(4, "{}", (1, 2), (5, 5))
    assert [each.bracket for each in after(begun, RunLeft(1, 4, "stopped by the user")).values()] == [None, 4]


def test_a_replacement_takes_the_place_in_the_bracket_unless_it_trains_apart():
    begun = BracketBegun(4, "{}", (1, 2), (5, 5))
    inside = after(begun, RunAdmitted(RETRY), RunReplaced(1, RETRY, 4))
    assert (inside[1].bracket, inside[1].replaced_by, inside[3].bracket) == (None, 3, 4)
    apart = replace(RETRY, origin=OomRetry(1, apart=True))
    assert after(begun, RunAdmitted(apart), RunReplaced(1, apart, 4))[3].bracket is None
