"""Patience: a run ends when its metric has not improved for some epochs."""

import math

import pytest

from rapidfire_cli.facts import Decision, Verdict
from rapidfire_cli.stopping.patience import Patience

NAN = math.nan


def begun(epochs: int = 2, min_delta: float = 0.0, direction: str = "min", goal: int = 9) -> Patience:
    patience = Patience(epochs, min_delta, direction)
    assert patience.start(1, {1: goal, 2: goal}) == epochs
    return patience


def told(patience: Patience, *values: float | None, run: int = 1) -> list[Decision]:
    """What is decided when the run shows these values, epoch by epoch."""
    return [each for epoch, value in enumerate(values, 1) for each in patience.report(run, epoch, value)]


def ended(patience: Patience, *values: float | None) -> int | None:
    """The epoch at which the run ends."""
    last = [each.epochs for each in told(patience, *values) if not each.verdicts[0].promoted]
    return last[0] if last else None


@pytest.mark.parametrize(("direction", "sign"), [("min", -1), ("max", 1)])
def test_a_run_ends_after_so_many_epochs_without_an_improvement(direction, sign):
    values = [sign * value for value in (0.1, 0.2, 0.3, 0.3, 0.2, 0.3)]
    assert ended(begun(direction=direction), *values) == 5
    assert ended(begun(3, direction=direction), *values) == 6


def test_an_improvement_gives_a_run_its_patience_again():
    assert ended(begun(), 0.5, 0.6, 0.4, 0.6, 0.3, 0.4, 0.4) == 7


@pytest.mark.parametrize("value", [0.3, 0.31, NAN, math.inf, None])
def test_neither_an_equal_value_nor_nan_nor_none_is_an_improvement(value):
    assert ended(begun(), 0.3, value, value) == 3


def test_only_what_is_better_by_more_than_min_delta_is_an_improvement():
    assert ended(begun(min_delta=0.25), 1.0, 0.75, 0.5) is None  # 0.5 is better than 1.0 by more than that
    assert ended(begun(min_delta=0.25), 1.0, 0.875, 0.75) == 3
    assert ended(begun(min_delta=0.25, direction="max"), 0.0, 0.25, 0.25) == 3


def test_small_steps_are_measured_from_the_last_improvement():
    """As in Keras and Lightning: the best stays until something beats it by more than min_delta."""
    [*_, last] = told(begun(1, min_delta=0.5), 1.0, 0.75)
    assert last.verdicts == (Verdict(1, 1.0, 1, False),)
    [*_, last] = told(begun(2, min_delta=0.5), 1.0, 0.75, 0.25)
    assert last.verdicts == (Verdict(1, 0.25, 1, True),)
    assert ended(begun(3, min_delta=0.5), 1.0, 0.75, 0.25, 0.25, 0.25, 0.25) == 6


def test_a_run_without_a_number_ends_when_its_patience_does():
    [decision] = told(begun(), NAN, None)
    assert decision.verdicts == (Verdict(1, None, 1, False),)
    assert ended(begun(), NAN, 0.5, 0.4) is None, "the first number is an improvement"


def test_infinity_of_the_worse_kind_is_not_an_improvement_and_of_the_better_kind_the_last_one():
    assert ended(begun(), math.inf, math.inf) == 2
    assert ended(begun(), -math.inf, -math.inf, -math.inf) == 3


def test_one_decision_is_taken_where_a_run_may_train_no_further():
    decisions = told(begun(3), 0.5, 0.4, 0.6, 0.6, 0.6)
    assert [(each.epochs, each.until, each.keep) for each in decisions] == [(3, 5, 1), (5, 5, 0)]
    assert [each.verdicts[0].value for each in decisions] == [0.4, 0.4]
    assert {each.rule for each in decisions} == {"patience"}


def test_nothing_is_decided_at_a_runs_last_epoch():
    assert told(begun(goal=3), 0.5, 0.6, 0.7)[-1].epochs == 2
    assert not told(begun(3, goal=3), 0.5, 0.6, 0.7)


def test_what_is_decided_about_a_run_does_not_depend_on_the_others():
    alone, among = begun(), begun()
    told(among, *[0.1] * 5, run=2)
    assert told(among, 0.5, 0.6, 0.7) == told(alone, 0.5, 0.6, 0.7)


def test_a_lost_run_is_not_judged():
    patience = begun()
    told(patience, 0.5)
    assert patience.withdraw(1, failed=True) == []
    assert patience.report(1, 2, 0.6) == []


def test_hearing_epochs_again_changes_nothing():
    patience = begun()
    told(patience, 0.5, 0.4)
    assert told(patience, 0.5, 0.4) == []
    assert patience.report(1, 3, 0.5) == [] and len(patience.report(1, 4, 0.5)) == 1
