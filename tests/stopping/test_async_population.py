"""A population without rounds: each run is judged as soon as it has trained its interval."""

import math
from collections.abc import Sequence

from rapidfire_cli.facts import Decision
from rapidfire_cli.stopping.async_population import AsyncPopulation, AsyncPopulationRule
from rapidfire_cli.stopping.rule import Vacancy

INTERVAL, GOAL = 2, 6  # epochs


def population(runs: int, forks: int = 1, goal: int = GOAL) -> AsyncPopulation:
    policy = AsyncPopulation(INTERVAL, goal, forks, runs, "max")
    assert policy.start(1, dict.fromkeys(range(1, runs + 1), goal)) == min(INTERVAL, goal)
    return policy


def report(policy: AsyncPopulation, epoch: int, values: dict[int, float | None]) -> list[Decision]:
    """The decisions when these runs report their values at an epoch of their own, in order."""
    return [made for run, value in values.items() for made in policy.report(run, epoch, value)]


def verdicts(decisions: Sequence[Decision]) -> dict[int, bool]:
    return {verdict.run: verdict.promoted for decision in decisions for verdict in decision.verdicts}


def places(policy: AsyncPopulation) -> Sequence[tuple[int, int, int]]:
    """The places that forks are to take: the epochs before, the place, and the run that had it."""
    return [(vacancy.epochs, vacancy.place, vacancy.instead) for vacancy in policy.vacancies]


def test_every_run_is_judged_at_once_among_the_results_that_are_known():
    policy = population(4)
    first = policy.report(3, 2, 0.1)
    assert verdicts(first) == {3: True}, "the first has none to be compared with, however bad it is"
    assert (first[0].known, first[0].rung, first[0].until) == (1, 1, 4)
    assert verdicts(report(policy, 2, {1: 0.2, 2: 0.4})) == {1: True, 2: True}
    [last] = policy.report(4, 2, 0.05)
    assert verdicts([last]) == {4: False}
    assert (last.known, last.keep, last.cut) == (4, 3, 0.1)
    assert policy.vacancies == (Vacancy(2, 4, 1, 4, ((2, 2),)),)


def test_a_run_trains_on_while_others_have_not_come_to_its_epoch():
    policy = population(4)
    assert verdicts(policy.report(1, 2, 0.1)) == verdicts(policy.report(1, 4, 0.1)) == {1: True}
    assert policy.waits(1) is None and policy.waits(2) is None


def test_only_results_at_the_same_epoch_of_the_population_are_compared():
    policy = population(2)
    report(policy, 2, {1: 0.5})
    assert verdicts(policy.report(1, 4, 0.9)) == {1: True}
    assert verdicts(policy.report(2, 2, 0.6)) == {2: True}, "at epoch 2 it is better than run 1 was"


def test_ends_of_intervals_before_the_goal_are_judged_and_nothing_else():
    policy = population(2)
    assert not report(policy, 1, {1: 0.5, 2: 0.1}) and not report(policy, 3, {1: 0.5})
    report(policy, 2, {1: 0.5})
    assert not report(policy, 2, {1: 0.1}), "it was judged before"
    report(policy, 4, {1: 0.5})
    assert not report(policy, 6, {1: 0.5}) and not report(policy, 2, {9: 0.5})


def test_a_fork_counts_its_epochs_from_that_of_its_source():
    policy = population(2)
    report(policy, 2, {1: 0.5, 2: 0.1})
    assert policy.join(3, 4) == INTERVAL and not policy.vacancies
    report(policy, 4, {1: 0.6})
    [decision] = policy.report(3, 2, 0.7)
    assert (decision.epochs, decision.offsets, decision.limit(3)) == (4, ((3, 2),), 4)
    assert verdicts([decision]) == {3: True}


def test_at_most_as_many_forks_are_made_at_an_epoch_as_after_a_round():
    policy = population(4, forks=1)
    made = report(policy, 2, {1: 0.4, 2: 0.3, 3: 0.2, 4: 0.1})
    assert verdicts(made) == {1: True, 2: True, 3: True, 4: False}
    policy = population(8, forks=2)
    made = report(policy, 2, {run: 1 / run for run in range(1, 9)})
    assert [run for run, on in verdicts(made).items() if not on] == [4, 5]
    assert places(policy) == [(2, 1, 4), (2, 2, 5)]
    assert verdicts(report(policy, 4, {1: 0.5})) == {1: True}


def test_forks_take_places_in_the_order_of_the_decisions():
    policy = population(8, forks=2)
    report(policy, 2, {run: 1 / run for run in range(1, 9)})
    report(policy, 4, {1: 0.5, 2: 0.6, 3: 0.7, 6: 0.1})
    assert places(policy) == [(2, 1, 4), (2, 2, 5), (4, 1, 6)]
    policy.join(9, GOAL - 4)
    assert places(policy) == [(2, 1, 4), (2, 2, 5)]
    policy.join(10, GOAL - 2)
    assert places(policy) == [(2, 2, 5)]


def test_sources_are_the_best_share_of_what_is_known_then():
    policy = population(8, forks=2)
    report(policy, 2, {1: 0.1, 2: 0.5, 3: 0.4, 4: 0.05})
    assert policy.vacancies[0].sources == ((2, 2),)
    report(policy, 2, {5: 0.6, 6: 0.3, 7: 0.2, 8: 0.01})
    assert policy.vacancies[1].sources == ((5, 2), (2, 2))


def test_a_run_that_was_ended_is_no_source():
    policy = population(4, forks=2)
    report(policy, 2, {1: 0.5, 2: 0.4})
    assert places(policy) == [(2, 1, 2)]
    report(policy, 2, {3: 0.3, 4: 0.2})
    assert policy.vacancies[1].sources == ((1, 2),)


def test_without_a_number_a_run_ends_and_a_fork_comes_when_there_is_a_source():
    policy = population(4)
    assert verdicts(report(policy, 2, {1: math.nan, 2: None})) == {1: False, 2: False}
    assert places(policy) == []
    report(policy, 2, {3: 0.1})
    assert places(policy) == [(2, 1, 1)]
    report(policy, 4, {3: 0.1})
    assert places(policy) == [(2, 1, 1), (4, 1, 2)], "later epochs fill what is still free"


def test_a_failed_run_ranks_last_where_it_would_have_come_next():
    policy = population(3)
    assert not policy.withdraw(2, failed=True), "there is nothing to fork yet"
    [decision] = policy.report(1, 2, 0.3)
    assert (verdicts([decision]), decision.failed, decision.known) == ({1: True}, (2,), 2)
    assert places(policy) == [(2, 1, 2)]
    policy.join(4, 4)
    policy.report(1, 4, 0.3)
    [decision] = policy.withdraw(4, failed=True)
    assert (decision.verdicts, decision.failed, decision.epochs, decision.keep) == ((), (4,), 4, 1)
    assert places(policy) == [(4, 1, 4)]
    assert policy.ranking(decision) == ((1, 0.3), (4, None))


def test_a_decision_that_fills_an_older_place_counts_that_failure():
    policy = population(2)
    report(policy, 2, {1: 0.5, 2: 0.1})
    policy.join(3, 4)
    assert not policy.withdraw(3, failed=True), "run 1 has not come to epoch 4"
    [decision] = policy.report(1, 4, 0.5)
    assert decision.failed == (3,) and places(policy) == [(4, 1, 3)]
    policy = population(3)
    report(policy, 2, {1: 0.5, 2: 0.4})
    assert [each.failed for each in policy.withdraw(3, failed=True)] == [(3,)]
    assert places(policy) == [(2, 1, 3)]


def test_after_the_last_decision_no_place_is_filled():
    policy = population(2)
    report(policy, 2, {1: 0.5})
    report(policy, 4, {1: 0.5})
    assert not policy.withdraw(1, failed=True) and not policy.withdraw(1, failed=True)
    assert not policy.vacancies


def test_a_run_that_was_taken_out_leaves_no_place():
    policy = population(2)
    report(policy, 2, {1: 0.5})
    assert not policy.withdraw(2, failed=False) and not policy.report(2, 2, 0.1)
    assert not policy.vacancies


def test_a_run_is_replaced_until_it_has_a_result():
    policy = population(2)
    assert policy.replace(1, 5)
    assert not policy.replace(1, 6) and not report(policy, 2, {1: 0.9})
    report(policy, 2, {5: 0.9})
    assert not policy.replace(5, 6)
    report(policy, 2, {2: 0.2})
    policy.join(7, 4)
    assert policy.replace(7, 8)
    [decision] = [*report(policy, 4, {5: 0.3}), *report(policy, 2, {8: 0.4})][1:]
    assert decision.offsets == ((8, 2),)


def test_checkpoints_are_needed_while_a_fork_of_them_may_come():
    policy = population(4)
    assert policy.may_fork(1, 2), "it has not reported yet"
    report(policy, 2, {1: 0.4, 2: 0.3})
    assert policy.may_fork(1, 2) and not policy.may_fork(2, 2), "only one run is ever forked here"
    report(policy, 2, {3: 0.2, 4: 0.1})
    assert policy.may_fork(1, 2), "its fork is not born yet"
    assert not policy.may_fork(4, 2) and not policy.may_fork(4, 4)
    policy.join(5, 4)
    assert not policy.may_fork(1, 2), "no run comes to epoch 2 any more"
    report(policy, 4, {1: 0.4})
    assert policy.may_fork(1, 4) and policy.may_fork(5, 2) and not policy.may_fork(9, 2)
    report(policy, 4, {2: 0.5, 3: 0.4})
    assert policy.may_fork(2, 4) and not policy.may_fork(1, 4)
    assert policy.decided == 7


def test_places_that_forks_have_taken_are_not_free_whatever_is_decided_later():
    policy = population(2)
    policy.join(3, 4)
    report(policy, 2, {1: 0.5, 2: 0.1})
    assert not policy.vacancies, "a rebuilt journal knows the fork before the results"


def test_the_words_say_that_more_may_have_been_known_later():
    rule = AsyncPopulationRule("top1", "max", INTERVAL, GOAL, 1, 2)
    first, second = report(population(2), 2, {1: 0.5, 2: 0.25})
    assert rule.passed(first, first.verdicts[0]) == "with 0.5, rank 1 of 1 known then"
    assert rule.ended(second, second.verdicts[0]) == (
        "top1 0.25, rank 2 of 2 known then, cut after rank 1 (0.5)"
    )
