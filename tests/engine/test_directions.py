"""The better direction of a metric is known by its name, or not at all."""

import pytest
import torchmetrics.classification
import torchmetrics.regression

from rapidfire_cli.engine.directions import LESS, MORE, usual_direction
from rapidfire_cli.training.metrics import snake


@pytest.mark.parametrize(
    "name",
    [
        "loss",
        "train.loss",
        "mean_squared_error",
        "hamming_distance",
        "eer",
        "head.eer",
        "val_perplexity",
        "rmse",
    ],
)
def test_what_measures_error_is_better_when_smaller(name):
    assert usual_direction(name) == "min"


@pytest.mark.parametrize(
    "name", ["top1_accuracy", "f1_score", "r2_score", "auroc", "head.f1_score", "my_recall"]
)
def test_what_measures_success_is_better_when_larger(name):
    assert usual_direction(name) == "max"


@pytest.mark.parametrize("name", ["margin", "score", "brier_score", "accuracy_of_what", "train.margin", ""])
def test_other_names_do_not_say_their_direction(name):
    assert usual_direction(name) is None


def test_the_directions_are_those_of_torchmetrics():
    said = {
        name: cls.higher_is_better
        for module in (torchmetrics.classification, torchmetrics.regression)
        for cls in vars(module).values()
        if isinstance(cls, type) and (name := named(cls)) in MORE | LESS
        if cls.higher_is_better is not None
    }

    assert said == {name: name in MORE for name in said}
    assert len(said) > 30
    assert not MORE & LESS


def named(cls):
    name = cls.__name__
    for prefix in ("Binary", "Multiclass", "Multilabel"):
        name = name.removeprefix(prefix)
    return snake(name)
