"""Successive halving: a rung decides when all its entrants have shown what they are worth."""

import math
import random
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rapidfire_cli.facts import Decision
from rapidfire_cli.stopping.halving import Halving

NAN = math.nan


def bracket(runs: int, levels: tuple[int, ...] = (1, 2, 4), goal: int = 8, factor: int = 2) -> Halving:
    """A bracket that has begun: less is better."""
    halving = Halving(levels, goal, factor, "min")
    assert halving.start(1, dict.fromkeys(range(1, runs + 1), goal)) == (levels or (goal,))[0]
    return halving


def told(halving: Halving, epoch: int, values: Mapping[int, float | None]) -> list[Decision]:
    """What is decided when the runs tell these values."""
    return [decision for run, value in values.items() for decision in halving.report(run, epoch, value)]


def promoted(decisions: Iterable[Decision]) -> set[int]:
    return {verdict.run for decision in decisions for verdict in decision.verdicts if verdict.promoted}


def test_of_eight_runs_one_trains_to_the_end():
    halving = bracket(8)
    for epoch, best in ((1, [1, 2, 3, 4]), (2, [1, 2]), (4, [1])):
        [decision] = told(halving, epoch, {run: run / 10 for run in halving.entrants})
        assert promoted([decision]) == set(best)
        assert decision.until == 2 * epoch
        assert (decision.epochs, decision.keep, decision.cut) == (epoch, len(best), best[-1] / 10)
    assert told(halving, 8, {1: 0.1}) == []


def test_nothing_is_decided_before_the_last_entrant_has_told():
    halving = bracket(3)
    assert told(halving, 1, {1: 0.3, 2: 0.2}) == []
    assert len(told(halving, 1, {3: 0.1})) == 1


def test_more_is_better_where_the_direction_says_so():
    halving = Halving((1,), 2, 2, "max")
    halving.start(1, {1: 2, 2: 2})
    assert promoted(told(halving, 1, {1: 0.1, 2: 0.9})) == {2}


def test_ties_go_to_the_lower_number():
    assert promoted(told(bracket(4), 1, dict.fromkeys((4, 2, 3, 1), 0.5))) == {1, 2}


def test_a_verdict_says_value_rank_and_cut():
    [decision] = told(bracket(3), 1, {1: 0.3, 2: NAN, 3: 0.1})
    assert [(verdict.run, verdict.rank, verdict.promoted) for verdict in decision.verdicts] == [
        (3, 1, True),
        (1, 2, False),
        (2, 3, False),
    ]
    assert (decision.known, decision.keep, decision.cut) == (3, 1, 0.1)


@pytest.mark.parametrize("bad", [NAN, None])
def test_what_is_not_a_number_ranks_last_and_never_goes_on(bad):
    assert promoted(told(bracket(4), 1, {1: bad, 2: bad, 3: bad, 4: math.inf})) == {4}
    assert promoted(told(bracket(4), 1, dict.fromkeys((1, 2, 3, 4), bad))) == set()


def test_a_failed_run_counts_among_the_entrants_and_blocks_nothing():
    halving = bracket(4)
    told(halving, 1, {2: 0.2, 3: 0.3})
    assert halving.withdraw(1, failed=True) == []
    [decision] = told(halving, 1, {4: 0.4})
    assert promoted([decision]) == {2, 3}
    assert decision.known == 4
    assert all(verdict.run != 1 for verdict in decision.verdicts)


def test_a_run_that_fails_after_it_told_does_not_go_on():
    halving = bracket(4)
    told(halving, 1, {1: 0.1, 2: 0.2, 3: 0.3})
    halving.withdraw(1, failed=True)
    assert promoted(told(halving, 1, {4: 0.4})) == {2, 3}


def test_the_last_failure_decides_the_rung():
    halving = bracket(4)
    told(halving, 1, {1: 0.1, 2: 0.2, 3: 0.3})
    assert promoted(halving.withdraw(4, failed=True)) == {1, 2}


def test_a_run_that_a_person_stops_is_no_entrant():
    halving = bracket(4)
    halving.withdraw(1, failed=False)
    [decision] = told(halving, 1, {2: 0.2, 3: 0.3, 4: 0.4})
    assert promoted([decision]) == {2}
    assert decision.known == 3


def test_a_bracket_that_everybody_left_decides_nothing():
    halving = bracket(2)
    assert halving.withdraw(1, failed=False) == halving.withdraw(2, failed=False) == []


def test_a_rung_of_nothing_but_failures_ends_the_bracket():
    halving = bracket(2)
    halving.withdraw(1, failed=True)
    [decision] = halving.withdraw(2, failed=True)
    assert decision.verdicts == ()
    assert not halving.entrants


def test_without_a_level_below_the_goal_nothing_is_decided():
    assert told(bracket(4, levels=()), 8, dict.fromkeys((1, 2, 3, 4), 0.1)) == []


def test_one_run_at_least_goes_on():
    assert promoted(told(bracket(2, factor=4), 1, {1: 0.2, 2: 0.1})) == {2}


def test_results_of_later_rungs_count_when_their_rung_opens():
    halving = bracket(4)
    told(halving, 1, {1: 0.1, 2: 0.2})
    assert told(halving, 2, {1: 0.1, 2: 0.2}) == []
    decisions = [*told(halving, 1, {3: 0.3}), *told(halving, 1, {4: 0.4})]
    assert [decision.epochs for decision in decisions] == [1, 2]
    assert [promoted([decision]) for decision in decisions] == [{1, 2}, {1}]


def test_hearing_it_again_changes_nothing():
    halving = bracket(4)
    told(halving, 1, {1: 0.1, 2: 0.2})
    assert told(halving, 1, {1: 0.9, 2: 0.9}) == []
    assert promoted(told(halving, 1, {3: 0.3, 4: 0.4})) == {1, 2}


VALUES = st.sampled_from([0.1, 0.2, 0.2, 0.3, NAN, None, math.inf, -math.inf])


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=12),
    lost=st.dictionaries(st.integers(1, 12), st.booleans(), max_size=4),
    factor=st.integers(2, 4),
    seed=st.integers(0, 2**32),
)
def test_decisions_do_not_depend_on_the_order_of_results(values, lost, factor, seed):
    def play(order: random.Random | None) -> list[Decision]:
        halving = bracket(len(values), factor=factor)
        facts = [*((run, None) for run in range(1, len(values) + 1)), *lost.items()]
        decisions: list[Decision] = []
        for level in range(3):
            told_now = [(run, how) for run, how in facts if run in halving.entrants]
            told_now = [(run, how) for run, how in told_now if how is not None or run not in lost]
            if order:
                order.shuffle(told_now)
            for run, how in told_now:
                if how is None:
                    decisions += halving.report(run, (1, 2, 4)[level], values[run - 1][level])
                else:
                    decisions += halving.withdraw(run, how)
        return decisions

    assert str(play(random.Random(seed))) == str(play(None))
