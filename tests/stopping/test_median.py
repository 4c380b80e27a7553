"""The median rule: a run ends when its best result is worse than the median of the others' averages."""

import math

import pytest

from rapidfire_cli.facts import Verdict
from rapidfire_cli.stopping.median import Median


def rule(runs: int, minimum: int = 1, goal: int = 9, direction: str = "min", others: int = 3) -> Median:
    median = Median(minimum, direction, others)
    assert median.start(1, dict.fromkeys(range(1, runs + 1), goal)) == minimum
    return median


def verdict(median: Median, run: int, epoch: int, value: float | None) -> Verdict:
    [decision] = median.report(run, epoch, value)
    [found] = decision.verdicts
    return found


@pytest.mark.parametrize(("direction", "worse", "better"), [("min", 0.31, 0.29), ("max", 0.29, 0.31)])
def test_a_run_worse_than_the_median_of_the_others_ends(direction, worse, better):
    median = rule(5, direction=direction)
    for run, value in ((1, 0.2), (2, 0.3), (3, 0.4)):
        assert verdict(median, run, 1, value).promoted
    assert not verdict(median, 4, 1, worse).promoted
    assert verdict(median, 5, 1, better).promoted


def test_as_good_as_the_median_is_good_enough():
    median = rule(4)
    for run, value in ((1, 0.2), (2, 0.3), (3, 0.4)):
        verdict(median, run, 1, value)
    assert verdict(median, 4, 1, 0.3).promoted


def test_nobody_ends_while_too_few_others_are_known():
    median = rule(3)
    assert verdict(median, 1, 1, 0.1).promoted
    assert verdict(median, 2, 1, 0.2).promoted
    assert verdict(median, 3, 1, 9.9).promoted


def test_nobody_is_judged_before_the_minimum_nor_at_the_end():
    median = rule(2, minimum=2, goal=3)
    assert median.report(1, 1, 0.5) == []
    assert verdict(median, 1, 2, 0.5).promoted
    assert median.report(1, 3, 0.5) == []


def test_a_run_is_judged_by_its_best_result_against_averages_over_time():
    median = rule(4, others=1)
    verdict(median, 1, 1, 1.0)
    verdict(median, 1, 2, 0.0)  # 0.5 on average
    verdict(median, 2, 1, 0.4)
    assert verdict(median, 2, 2, 0.9).promoted  # 0.4 was better than 0.5


def test_the_verdict_says_best_value_and_rank_and_the_decision_the_cut():
    median = rule(4)
    for run, value in ((1, 0.2), (2, 0.3), (3, 0.4)):
        verdict(median, run, 1, value)
    [decision] = median.report(4, 1, 0.35)
    assert decision.verdicts == (Verdict(4, 0.35, rank=3, promoted=False),)
    assert (decision.cut, decision.known, decision.keep, decision.until) == (0.3, 4, 2, 2)


@pytest.mark.parametrize("bad", [math.nan, None])
def test_what_is_not_a_number_ends_the_run_and_counts_for_nobody(bad):
    median = rule(3, others=1)
    assert not verdict(median, 1, 1, bad).promoted
    assert verdict(median, 2, 1, 9.9).promoted


def test_a_lost_run_is_not_judged_but_its_averages_stay():
    median = rule(4)
    for run, value in ((1, 0.2), (2, 0.3), (3, 0.4)):
        verdict(median, run, 1, value)
    median.withdraw(1, failed=True)
    assert median.report(1, 2, 0.1) == []
    assert not verdict(median, 4, 1, 0.5).promoted


def test_hearing_it_again_changes_nothing():
    median = rule(2)
    verdict(median, 1, 1, 0.2)
    assert median.report(1, 1, 0.2) == []
