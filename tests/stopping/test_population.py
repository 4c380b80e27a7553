"""A population: after each round, forks of the best runs take the places of the worst."""

import math
from collections.abc import Sequence

import pytest

from rapidfire_cli.facts import Decision
from rapidfire_cli.stopping.decision import Wait
from rapidfire_cli.stopping.population import Population, PopulationRule
from rapidfire_cli.stopping.rule import Vacancy

ROUND, GOAL = 2, 6  # epochs


def population(runs: int, forks: int = 1, goal: int = GOAL) -> Population:
    policy = Population(ROUND, goal, forks, "max")
    assert policy.start(1, dict.fromkeys(range(1, runs + 1), goal)) == min(ROUND, goal)
    return policy


def report(policy: Population, epoch: int, values: dict[int, float | None]) -> list[Decision]:
    """The decisions when these runs report their values at an epoch of their own, in order."""
    return [made for run, value in values.items() for made in policy.report(run, epoch, value)]


def kept(decision: Decision) -> list[int]:
    return [verdict.run for verdict in decision.verdicts if verdict.promoted]


def places(policy: Population) -> Sequence[tuple[int, int]]:
    """The places that forks are to take, and the runs that had them."""
    return [(vacancy.place, vacancy.instead) for vacancy in policy.vacancies]


def test_the_worst_ends_and_its_place_is_for_a_fork_of_the_best():
    policy = population(4)
    [decision] = report(policy, ROUND, {1: 0.1, 2: 0.4, 3: 0.3, 4: 0.2})
    assert kept(decision) == [2, 3, 4]
    assert (decision.rung, decision.epochs, decision.until) == (1, 2, 4)
    assert (decision.known, decision.keep, decision.cut) == (4, 3, 0.2)
    assert policy.vacancies == (Vacancy(2, 4, 1, 1, ((2, 2),)),)


def test_only_the_ends_of_rounds_before_the_goal_are_compared():
    policy = population(2)
    assert not report(policy, 1, {1: 0.5, 2: 0.1})
    [first] = report(policy, 2, {1: 0.1, 2: 0.2})
    policy.join(3, 4)
    assert kept(first) == [2]
    [second] = [*report(policy, 3, {2: 9.0}), *report(policy, 4, {2: 0.1}), *report(policy, 2, {3: 0.2})]
    policy.join(4, 2)
    assert (kept(second), second.offsets) == ([3], ((3, 2),))
    assert not report(policy, 4, {3: 0.5}) and not report(policy, 2, {4: 0.5}), "the goal is reached"


def test_a_fork_trains_a_round_or_what_is_left():
    policy = population(2, goal=5)
    report(policy, 2, {1: 0.1, 2: 0.2})
    assert policy.join(3, 3) == 2
    report(policy, 4, {2: 0.1})
    report(policy, 2, {3: 0.2})
    assert policy.join(4, 1) == 1


def test_a_round_is_decided_only_after_forks_took_the_places_of_the_last():
    policy = population(4, forks=2)
    report(policy, 2, {1: 0.1, 2: 0.4, 3: 0.3, 4: 0.2})
    assert places(policy) == [(1, 4), (2, 1)]
    assert not report(policy, 4, {2: 0.4, 3: 0.3})
    policy.join(5, 4)
    assert places(policy) == [(2, 1)]
    assert not report(policy, 2, {5: 0.9})
    policy.join(6, 4)
    assert places(policy) == [] and policy.waits(2) == Wait(2, 4, 3, 4, "round")
    [decision] = report(policy, 2, {6: 0.1})
    assert kept(decision) == [5, 2]
    assert policy.vacancies[0].sources == ((5, 2), (2, 4))


def test_while_places_are_free_a_wait_counts_their_forks():
    policy = population(3)
    assert policy.waits(1) == Wait(1, 2, 0, 3, "round")
    report(policy, 2, {1: 0.1, 2: 0.4, 3: 0.3})
    report(policy, 4, {2: 0.4})
    assert policy.waits(3) == Wait(2, 4, 1, 3, "round") and policy.waits(1) is None


def test_a_failed_run_ranks_last():
    policy = population(3)
    assert not policy.withdraw(2, failed=True)
    [decision] = report(policy, 2, {1: 0.1, 3: 0.3})
    assert (kept(decision), decision.failed) == ([3, 1], (2,))
    assert places(policy) == [(1, 2)]


def test_a_run_that_was_taken_out_leaves_no_place():
    policy = population(3)
    assert not report(policy, 2, {1: 0.1, 3: 0.3})
    [decision] = policy.withdraw(2, failed=False)
    assert (kept(decision), decision.known) == ([3], 2)
    assert not policy.withdraw(2, failed=False) and not policy.withdraw(9, failed=True)


def test_runs_without_a_number_all_end_and_later_rounds_fill_the_places():
    policy = population(4)
    [decision] = report(policy, 2, {1: math.nan, 2: 0.4, 3: None, 4: 0.2})
    assert kept(decision) == [2, 4]
    [(place, _)] = places(policy)
    assert place == 1 and len(policy.vacant) == 1
    policy.join(5, 4)
    [decision] = [*report(policy, 4, {2: 0.4, 4: 0.2}), *report(policy, 2, {5: 0.1})]
    assert kept(decision) == [2, 4, 5], "the place that is free needs no other run's"
    assert len(places(policy)) == 1 and not policy.vacant


def test_a_population_that_failed_ends():
    policy = population(2)
    assert not policy.withdraw(1, failed=True)
    [decision] = policy.withdraw(2, failed=True)
    assert (decision.failed, kept(decision), places(policy)) == ((1, 2), [], [])


def test_runs_that_fail_after_the_last_decision_cause_none():
    policy = population(2)
    report(policy, 2, {1: 0.1, 2: 0.2})
    policy.join(3, 4)
    report(policy, 4, {2: 0.1})
    report(policy, 2, {3: 0.2})
    policy.join(4, 2)
    assert not policy.withdraw(3, failed=True) and not policy.withdraw(4, failed=True)
    assert policy.waits(3) is None


def test_a_run_is_replaced_until_it_has_a_result():
    policy = population(2)
    assert policy.replace(1, 5)
    assert not policy.replace(1, 6) and not report(policy, 2, {1: 0.9})
    assert not report(policy, 2, {5: 0.1}) and not policy.replace(5, 6)
    [decision] = report(policy, 2, {2: 0.2})
    assert kept(decision) == [2] and not policy.replace(2, 6), "it has passed a round"
    policy.join(7, 4)
    assert policy.replace(7, 8)
    [decision] = [*report(policy, 4, {2: 0.3}), *report(policy, 2, {8: 0.1})]
    assert decision.offsets == ((8, 2),)


def test_the_end_of_a_run_is_explained_by_its_rank():
    rule = PopulationRule("top1", "max", ROUND, GOAL, 1)
    [decision] = report(population(3), 2, {1: 0.5, 2: 0.75, 3: 0.5})
    told = {
        verdict.run: (rule.passed(decision, verdict), rule.ended(decision, verdict))
        for verdict in decision.verdicts
    }
    assert told[2][0] == "with 0.75, rank 1 of 3"
    assert told[3][1] == "top1 0.5, rank 3 of 3, cut after rank 2 (0.5); ties go to the lower run number"
    [decision] = report(population(4, forks=2), 2, {1: 0.5, 2: 0.75, 3: math.nan, 4: 0.25})
    assert [rule.ended(decision, verdict) for verdict in decision.verdicts[2:]] == [
        "top1 0.25, rank 3 of 4, cut after rank 2 (0.5)",
        "top1 NaN, rank 4 of 4, NaN is never promoted",
    ]
    [decision] = report(population(2), 2, {1: 0.5, 2: None})
    assert rule.ended(decision, decision.verdicts[1]).endswith(
        "rank 2 of 2, a missing value is never promoted"
    )


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
def test_equal_values_rank_by_number(order):
    policy = population(3)
    [decision] = report(policy, 2, dict.fromkeys(order, 0.5))
    assert kept(decision) == [1, 2]
