"""Early-stopping rules: results in, decisions out."""

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidfire_cli.facts import Decision
from rapidfire_cli.stopping.asha import AsyncHalving
from rapidfire_cli.stopping.decision import Wait
from rapidfire_cli.stopping.halving import Halving
from rapidfire_cli.stopping.ladder import levels
from rapidfire_cli.stopping.median import Median
from rapidfire_cli.stopping.patience import Patience
from rapidfire_cli.stopping.rule import Policy

Curves = Mapping[int, Sequence[float]]
VALUES = st.sampled_from([0.0, 0.25, 0.5, 1.0, math.nan, math.inf])


def halving(goal: int = 8, factor: int = 2, first: int = 1) -> Halving:
    return Halving(levels(first, goal, factor), goal, factor, "max")


def asynchronous(goal: int = 8, factor: int = 2, first: int = 1) -> AsyncHalving:
    return AsyncHalving(levels(first, goal, factor), goal, factor, "max")


def begun(policy: Policy, runs: int, goal: int = 8) -> Policy:
    policy.start(1, dict.fromkeys(range(1, runs + 1), goal))
    return policy


def rung(policy: Policy, epoch: int, *values: float) -> list[Decision]:
    """Tell the runs' values at an epoch, in order."""
    return [decision for run, value in enumerate(values, 1) for decision in policy.report(run, epoch, value)]


def verdicts(decisions: Sequence[Decision]) -> dict[int, bool]:
    return {verdict.run: verdict.promoted for decision in decisions for verdict in decision.verdicts}


def promoted(decisions: Sequence[Decision]) -> list[int]:
    return [run for run, goes_on in verdicts(decisions).items() if goes_on]


@pytest.mark.parametrize(("runs", "factor", "kept"), [(8, 2, 4), (7, 2, 3), (10, 3, 3), (2, 3, 1), (1, 2, 1)])
def test_a_rung_of_n_keeps_the_best_floor_n_over_eta_but_one_at_least(runs, factor, kept):
    [decision] = rung(begun(halving(factor=factor), runs), 1, *(1 / run for run in range(1, runs + 1)))
    assert promoted([decision]) == list(range(1, kept + 1))
    assert (decision.known, decision.keep, decision.cut) == (runs, kept, 1 / kept)


def test_a_rung_waits_for_every_entrant():
    policy = begun(halving(), 3)
    assert not policy.report(1, 1, 0.5) and not policy.report(3, 1, 0.7)
    assert verdicts(policy.report(2, 1, 0.6)) == {1: False, 2: False, 3: True}


def test_ties_go_to_the_lower_number():
    assert promoted(rung(begun(halving(), 4), 1, 0.5, 0.5, 0.5, 0.5)) == [1, 2]


def test_nan_ranks_worst_and_never_goes_on():
    assert promoted(rung(begun(halving(), 4), 1, math.nan, math.nan, -math.inf, math.nan)) == [3]
    assert promoted(rung(begun(asynchronous(), 4), 1, math.nan, math.nan, -math.inf, math.nan)) == [3]


def test_a_failed_run_counts_as_an_entrant_and_blocks_nothing():
    policy = begun(halving(), 4)
    assert not policy.withdraw(1, failed=True)
    [decision] = [*policy.report(2, 1, 0.1), *policy.report(3, 1, 0.2), *policy.report(4, 1, 0.3)]
    assert promoted([decision]) == [4, 3] and decision.failed == (1,) and decision.known == 4


def test_a_run_that_was_taken_out_does_not_count():
    policy = begun(halving(), 4)
    rung(policy, 1, 0.4, 0.3, 0.2)
    [decision] = policy.withdraw(4, failed=False)
    assert promoted([decision]) == [1] and decision.known == 3


def test_a_result_that_comes_before_its_rung_counts_when_the_rung_opens():
    policy = begun(halving(), 4)
    rung(policy, 1, 0.1, 0.2, 0.3)
    assert not policy.report(3, 2, 0.9) and not policy.report(3, 4, 0.9)
    assert promoted(policy.report(4, 1, 0.4)) == [4, 3]
    assert [decision.epochs for decision in policy.report(4, 2, 0.5)] == [2, 4]


@given(st.data(), st.integers(1, 9), st.integers(2, 3))
def test_a_synchronous_brackets_decisions_do_not_depend_on_the_order_of_results(data, runs, factor):
    curves = data.draw(st.lists(st.lists(VALUES, min_size=8, max_size=8), min_size=runs, max_size=runs))
    failures = data.draw(st.sets(st.integers(1, runs)))
    orders = [[(run, epoch) for epoch in range(1, 9) for run in range(1, runs + 1)]]
    orders.append(data.draw(st.permutations(orders[0])))
    heard = [_all_decisions(begun(halving(factor=factor), runs), curves, failures, order) for order in orders]
    assert repr(heard[0]) == repr(heard[1])  # NaN is equal to itself


def _all_decisions(policy, curves, failures, order):
    decisions = []
    for run in failures:
        decisions += policy.withdraw(run, failed=True)
    for run, epoch in order:
        decisions += policy.report(run, epoch, curves[run - 1][epoch - 1])
    return decisions


def test_an_asynchronous_bracket_promotes_without_waiting():
    policy = begun(asynchronous(), 4)
    assert not policy.report(1, 1, 0.5)
    assert verdicts(policy.report(2, 1, 0.4)) == {1: True}
    assert verdicts(policy.report(3, 1, 0.1)) == {}  # the top half of three is run 1, which has gone on
    assert not rung(policy, 2, 0.1)


def test_an_asynchronous_rung_closes_when_nobody_can_enter_it_any_more():
    policy = begun(asynchronous(), 4)
    decisions = rung(policy, 1, 0.4, 0.3, 0.2, 0.1)
    assert verdicts(decisions) == {1: True, 2: True, 3: False, 4: False}
    assert verdicts([*policy.report(1, 2, 0.5), *policy.report(2, 2, 0.6)]) == {2: True, 1: False}


def test_early_promotions_may_be_more_than_a_closed_rung_would_keep():
    decisions = rung(begun(asynchronous(), 4), 1, 0.1, 0.2, 0.3, 0.4)
    assert verdicts(decisions) == {2: True, 3: True, 4: True, 1: False}


def test_an_asynchronous_bracket_takes_results_that_come_before_their_rung():
    policy = begun(asynchronous(), 2)
    assert not policy.report(1, 1, 0.5) and not policy.report(1, 2, 0.6) and not policy.report(1, 4, 0.7)
    decisions = policy.report(2, 1, 0.1)
    assert [(each.epochs, promoted([each])) for each in decisions] == [(1, [1]), (1, []), (2, [1]), (4, [1])]


def test_the_median_rule_ends_a_run_whose_best_is_worse_than_the_median_of_the_others_averages():
    policy = begun(Median(2, "max"), 5)
    for run, value in enumerate((0.5, 0.6, 0.7), 1):
        assert not policy.report(run, 1, value)
        assert promoted(policy.report(run, 2, value)) == [run]  # nobody ends before three others are known
    policy.report(4, 1, 0.55)
    [decision] = policy.report(4, 2, 0.5)
    assert verdicts([decision]) == {4: False} and decision.cut == 0.6
    policy.report(5, 1, 0.65)
    assert promoted(policy.report(5, 2, 0.1)) == [5]  # its best counts, not its last


def test_the_median_rule_ends_a_run_at_nan_and_says_nothing_at_a_runs_last_epoch():
    policy = begun(Median(1, "max"), 2, goal=2)
    assert verdicts(policy.report(1, 1, math.nan)) == {1: False}
    assert promoted(policy.report(2, 1, 0.5)) == [2] and not policy.report(2, 2, 0.1)


@pytest.mark.parametrize("make", [halving, asynchronous])
def test_who_has_come_to_an_open_rung_waits_for_the_others(make):
    policy = begun(make(), 3)
    policy.report(1, 1, 0.1)
    assert policy.waits(1) == Wait(rung=1, epochs=1, known=1, entrants=3)
    rung(policy, 1, 0.1, 0.2, 0.3)
    assert policy.waits(1) is None  # it has been decided upon


def test_nobody_waits_after_the_last_rung():
    policy = begun(halving(goal=2), 2, goal=2)
    rung(policy, 1, 0.1, 0.2)
    assert policy.waits(2) is None


@pytest.mark.parametrize("policy", [Median(1, "max"), Patience(1, 0.0, "max")])
def test_nobody_waits_under_a_rule_without_a_ladder(policy):
    begun(policy, 2)
    policy.report(1, 1, 0.5)
    assert policy.waits(1) is None
