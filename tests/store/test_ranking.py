"""The best run is best by the objective, and nothing undefined ever beats a number."""

import math
from dataclasses import replace

import pytest

from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.ranking import direction_of, measured, ranking, usual_objective
from rapidfire_cli.store.replicates import Spread
from rapidfire_cli.terms import Objective, RunState
from tests.store.sweep import best, config, row

MOST = Objective("top1_accuracy", "max")


def order(rows, objective=MOST):
    return [place.row.number for place in ranking(rows, objective)]


def test_more_is_better_or_less_as_the_objective_says():
    rows = [row(1, 0.5), row(2, 0.9), row(3, 0.7)]
    assert order(rows) == [2, 3, 1]
    assert order(rows, Objective("top1_accuracy", "min")) == [1, 3, 2]


def test_a_tie_goes_to_the_lower_number():
    assert order([row(3, 0.9), row(1, 0.9), row(2, 0.9)]) == [1, 2, 3]


@pytest.mark.parametrize("direction", ["min", "max"])
def test_nan_ranks_below_numbers_nothing_below_nan_and_failed_runs_last(direction):
    rows = [row(1, 0.99, RunState.FAILED), row(2), row(3, math.nan), row(4, -math.inf), row(5, math.inf)]
    numbers = [4, 5] if direction == "min" else [5, 4]
    assert order(rows, Objective("top1_accuracy", direction)) == [*numbers, 3, 2, 1]


def test_runs_are_compared_at_their_best_epochs_where_the_objective_says_so():
    rows = [row(1, 0.9, best=best(5, 0.9)), row(2, 0.5, best=best(2, 0.95)), row(3, 0.7)]
    assert order(rows) == [1, 3, 2]
    assert order(rows, replace(MOST, at="best")) == [2, 1, 3]


def test_replicates_are_compared_by_the_mean_of_each_ones_best_epoch():
    rows = [replicate(1, 0, 0.1, best=best(1, 0.9)), replicate(2, 1, 0.2, best=best(3, 0.7))]
    (place,) = ranking(rows, replace(MOST, at="best"))
    assert place.value and (place.value.mean, place.value.runs) == (pytest.approx(0.8), (1, 2))


def test_before_the_first_epoch_every_run_is_ranked_by_its_number():
    assert order([row(2), row(1)]) == [1, 2]


def test_a_metric_means_validation_unless_it_says_its_split():
    rows = [row(1, metrics={"train": {"loss": 1.0}, "validation": {"loss": 2.0}})]
    assert measured(rows, "loss") == ("validation", "loss")
    assert measured(rows, "train.loss") == ("train", "loss")


def test_a_metric_means_training_where_nothing_was_ever_validated():
    assert measured([row(1, metrics={"train": {"loss": 1.0}})], "loss") == ("train", "loss")


def test_a_metric_whose_name_has_a_dot_is_found_by_its_whole_name():
    rows = [row(1, metrics={"validation": {"f1.macro": 1.0}})]
    assert measured(rows, "f1.macro") == ("validation", "f1.macro")


def test_a_metric_that_no_run_has_is_refused_with_the_nearest():
    with pytest.raises(Refusal) as refused:
        ranking([row(1, 0.5)], Objective("top1_acuracy", "max"))
    (problem,) = refused.value.problems
    assert (problem.code, problem.hint) == ("E605", "did you mean `top1_accuracy`?")
    assert problem.expected == "one of loss, top1_accuracy"


def replicate(number: int, k: int, accuracy: float | None, state=RunState.COMPLETED, **changes):
    """The k-th run of the first leaf config."""
    return row(number, accuracy, state, leaf=config(1), replicate=k, **changes)


def test_replicates_of_a_leaf_config_are_ranked_as_one_by_their_mean():
    rows = [replicate(1, 0, 0.5), replicate(2, 1, 0.75), replicate(3, 2, 1.0), row(4, 0.7), row(5, 0.8)]
    places = ranking(rows, MOST)
    assert [[found.number for found in place.rows] for place in places] == [[5], [1, 2, 3], [4]]
    assert [place.value for place in places] == [
        Spread(0.8, None, (5,)),
        Spread(0.75, 0.25, (1, 2, 3)),
        Spread(0.7, None, (4,)),
    ]


def test_a_failed_replicate_does_not_count_and_a_missing_one_is_waited_for():
    rows = [replicate(1, 0, 0.5), replicate(2, 1, 0.9, RunState.FAILED), replicate(3, 2, None)]
    (place,) = ranking(rows, MOST)
    assert (place.value, place.failed) == (Spread(0.5, None, (1,)), False)


def test_a_leaf_config_fails_when_all_its_replicates_do():
    rows = [replicate(1, 0, 0.9, RunState.FAILED), replicate(2, 1, 0.9, RunState.FAILED), row(3)]
    assert [place.failed for place in ranking(rows, MOST)] == [False, True]


@pytest.mark.parametrize(
    ("values", "mean"), [((1.0, math.nan), "nan"), ((1.0, math.inf), "inf"), ((math.inf, -math.inf), "nan")]
)
def test_the_mean_of_what_is_not_finite_is_not_finite(values, mean):
    rows = [replicate(number, number, value) for number, value in enumerate(values)]
    (place,) = ranking(rows, MOST)
    assert place.value and (str(place.value.mean), str(place.value.deviation)) == (mean, "nan")


def test_the_same_leaf_config_in_two_groups_is_ranked_twice():
    rows = [replicate(1, 0, 0.5), replicate(2, 1, 0.5), row(3, 0.5, leaf=config(1), group=2)]
    assert [len(place.rows) for place in ranking(rows, MOST)] == [2, 1]


def test_a_metric_asked_for_by_a_name_that_says_nothing_needs_a_direction():
    measured = replace(row(1, 0.5), metrics={"validation": {"margin": 0.5}})
    assert direction_of("loss", [measured]) == "min"
    for metric, code in (("margin", "E610"), ("marge", "E605")):
        with pytest.raises(Refusal) as refused:
            direction_of(metric, [measured])
        assert [problem.code for problem in refused.value.problems] == [code]


def test_runs_are_ranked_by_the_first_named_metric_else_the_loss():
    assert usual_objective(["top5_accuracy", "f1_score"]) == Objective("top5_accuracy", "max")
    assert usual_objective([]) == Objective("loss", "min")
