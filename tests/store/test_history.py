"""Each bracket's own past says the same as the whole past, however the brackets' events are mixed."""

from hypothesis import given
from hypothesis import strategies as st

from rapidfire_cli.facts import (
    BracketBegun,
    Decision,
    EpochEnded,
    Metric,
    RunChanged,
    RunJoined,
    RunLeft,
    RunReplaced,
)
from rapidfire_cli.store.history import Past, bracket_events, by_bracket
from rapidfire_cli.terms import OomRetry, Run, RunState

RUNS = st.integers(1, 6)
BRACKETS = st.integers(1, 3)


def epoch_ended(run: int, epoch: int) -> EpochEnded:
    return EpochEnded(run, epoch, epoch, (Metric("validation", "loss", 0.5),), 1.0)


def replacing(run: int, number: int, apart: bool) -> Run:
    return Run(number, f"{number:016x}", 1, "{}", 1, origin=OomRetry(run, apart=apart))


@st.composite
def pasts(draw: st.DrawFn) -> list[Past]:
    """Brackets of some runs each, and what may happen to them, in any order after they began."""
    homes = draw(st.dictionaries(BRACKETS, st.sets(RUNS, min_size=1), min_size=1))
    events: list[Past] = [
        BracketBegun(bracket, "{}", tuple(sorted(runs)), (9,) * len(runs)) for bracket, runs in homes.items()
    ]
    known = sorted(set().union(*homes.values()))
    failed: set[int] = set()
    replacement = 10
    for _ in range(draw(st.integers(0, 12))):
        run, bracket = draw(st.sampled_from(known)), draw(st.sampled_from(sorted(homes)))
        match draw(st.sampled_from(["finished", "failed", "replaced", "joined", "left", "decision"])):
            case "finished":
                events.append(epoch_ended(run, draw(st.integers(1, 9))))
            case "failed":
                events.append(RunChanged(run, RunState.FAILED))
                failed.add(run)
            case "replaced" if run in homes[bracket]:
                events.append(RunReplaced(run, replacing(run, replacement, draw(st.booleans())), bracket))
                known.append(replacement)
                replacement += 1
            case "joined":
                events.append(RunJoined(replacement, bracket, 9))
                known.append(replacement)
                replacement += 1
            case "left":
                events.append(RunLeft(run, bracket, "its early-stopping rule changed"))
            case "decision":
                counted = tuple(sorted(failed & homes[bracket]))
                events.append(Decision(bracket, "halving", 1, 1, 2, 1, 0.5, 3, (), counted))
    return events


@given(pasts())
def test_a_bracket_hears_the_same_of_its_own_past_as_of_the_whole(past: list[Past]):
    told = by_bracket(past)
    for began in past:
        if isinstance(began, BracketBegun):
            own = told[began.bracket]
            assert list(bracket_events(began, own)) == list(bracket_events(began, past))


def test_what_concerns_other_brackets_is_left_out():
    past: list[Past] = [
        BracketBegun(1, "{}", (1, 2), (3, 3)),
        BracketBegun(2, "{}", (3,), (3,)),
        epoch_ended(1, 1),
        epoch_ended(3, 1),
        epoch_ended(9, 1),
    ]
    assert by_bracket(past) == {1: [past[0], past[2]], 2: [past[1], past[3]]}
