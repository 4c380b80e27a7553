"""What charts beside the curves are made of: rungs with their verdicts, and the importance of knobs."""

import importlib.util

import pytest

from rapidfire_cli.app.page import importance, rungs
from rapidfire_cli.view.page.importance import LEAST
from tests.view.page.pages import experiment
from tests.view.page.sweeps import grid, halving


def test_rungs_have_the_verdicts_of_their_decisions(tmp_path):
    home = experiment(tmp_path)
    halving(home, 9)
    [bracket] = rungs(home)["brackets"]
    assert (bracket["rule"], bracket["metric"], bracket["split"]) == (
        "HalvingRule",
        "top1_accuracy",
        "validation",
    )
    assert bracket["runs"] == [*range(1, 10)]
    first, second = bracket["rungs"]
    assert (first["epochs"], first["decided"], first["known"], first["keep"]) == (1, True, 9, 3)
    ranked = sorted(first["verdicts"], key=lambda verdict: verdict[2])
    assert [promoted for *_, promoted in ranked] == [True] * 3 + [False] * 6
    assert first["cut"] == ranked[2][1]
    assert len(second["verdicts"]) == 3


def test_an_experiment_without_early_stopping_has_no_brackets(tmp_path):
    home = experiment(tmp_path)
    grid(home, 3, 1)
    assert rungs(home) == {"brackets": []}


def test_importance_finds_the_knob_that_matters(tmp_path):
    pytest.importorskip("optuna")
    home = experiment(tmp_path)
    grid(home, 150, 2)
    found = importance(home, "validation", "top1_accuracy")
    assert found["runs"] == 150
    shares = {short: value for _, short, value in found["importance"]}
    assert set(shares) == {"lr", "model", "dropout", "batch_size"}
    assert found["importance"][0][1] == "lr"
    assert sum(shares.values()) == pytest.approx(1)


def test_importance_is_refused_of_few_runs_and_without_optuna(tmp_path, monkeypatch):
    home = experiment(tmp_path)
    grid(home, LEAST - 1, 1)
    found = importance(home, "validation", "loss")
    assert found == {"runs": 19, "refused": "needs 20 runs with a value; there are 19"}
    assert importance(home, "test", "loss")["runs"] == 0
    other = experiment(tmp_path / "other")
    grid(other, LEAST, 1)
    monkeypatch.setattr("rapidfire_cli.view.page.importance.find_spec", lambda name: None)
    assert "rapidfire-cli[optuna]" in importance(other, "validation", "loss")["refused"]
    assert importlib.util.find_spec("optuna")
