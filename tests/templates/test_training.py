"""Every experiment file of `configs/` learns what its demo data hold, in a short share of its training."""

import pytest

from tests.scenarios.conftest import ROOT
from tests.shares import share
from tests.templates.project import Project

DIGITS = {
    "digits.yaml": (2, 2, "top1_accuracy", 0.8),
    "digits_mixed.yaml": (1, 2, "top1_accuracy", 0.8),
    "digits_random.yaml": (1, 3, "top1_accuracy", 0.7),
    "digits_sha.yaml": (4, 3, "top1_accuracy", 0.7),
    "digits_wide.toml": (2, 2, "top1_accuracy", 0.8),
}
FLOORS = {  # experiment file: run, epochs, validation metric and its least value; perplexities negated
    **DIGITS,
    "imagenet.yaml": (3, 1, "top1_accuracy", 0.8),
    "imdb.yaml": (4, 2, "top1_accuracy", 0.4),
    "causal_lm.yaml": (4, 1, "perplexity", -221),
    "lora.yaml": (4, 1, "perplexity", -270),
    "tabular.yaml": (1, 3, "auroc", 0.98),
    "tabular_regression.yaml": (4, 4, "r2_score", 0.3),
    "reference/config.yaml": (1, 2, "top5_accuracy", 0.85),
    "reference/gridsearch.yaml": (1, 2, "top5_accuracy", 0.85),
    "reference/randomsearch.yaml": (1, 2, "top1_accuracy", 0.38),
    "reference/sha.yaml": (4, 2, "top5_accuracy", 0.9),
    "reference/config_group.yaml": (6, 1, "top5_accuracy", 0.75),
}


def files():
    configs = ROOT / "configs"
    return {path.relative_to(configs).as_posix() for path in configs.rglob("*") if path.is_file()}


def test_every_experiment_file_has_a_floor():
    assert set(FLOORS) == files()


@pytest.mark.parametrize("name", share(FLOORS, 5))
def test_an_experiment_file_learns_what_its_demo_data_hold(project, tmp_path, name):
    run, epochs, metric, floor = FLOORS[name]
    found = Project(ROOT / "configs" / name).trained(tmp_path, run, epochs)[metric]
    assert (-found if metric == "perplexity" else found) >= floor
