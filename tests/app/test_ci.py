"""A gate says what it was held against: a run, or the mean over replicates."""

from dataclasses import replace
from pathlib import Path

import pytest

from rapidfire_cli.app.ci import MISSED, judge, requirements, say_gates
from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import Overview, RunRow
from rapidfire_cli.terms import Epoch, RunState
from tests.store.sweep import METADATA, best, config, row

REPLICATES = [
    row(1, 0.9, leaf=config(1)),
    row(2, 0.7, leaf=config(1), replicate=1),
    row(3, 0.1, RunState.FAILED, leaf=config(1), replicate=2),
    row(4, 0.5),
]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)


def seen(rows: list[RunRow], at: Epoch = "last") -> Overview:
    metadata = replace(METADATA, objective=replace(METADATA.objective, at=at))
    return Overview(
        metadata, RunState.COMPLETED, tuple(rows), ExperimentDir(Path("digits")), metadata.objective
    )


def test_a_missed_gate_names_the_best_run_and_its_value(capsys):
    gates = judge(seen([row(1, 0.8), row(2, 0.6)]), requirements(["top1_accuracy>=0.9", "loss < 1"]))
    assert say_gates(gates) == MISSED
    assert capsys.readouterr().err.splitlines() == [
        "required top1_accuracy>=0.9: the best run, 1, has 0.8",
        "required loss < 1: the best run, 1, has 0.5 (met)",
    ]


def test_with_replicates_it_says_that_a_mean_was_judged_and_of_which_runs(capsys):
    gates = judge(seen(REPLICATES), requirements(["top1_accuracy>=0.75"]))
    assert say_gates(gates) == 0
    (gate,) = gates
    of = "the mean of runs 1 and 2 (replicates of the best leaf config)"
    assert gate.text == f"required top1_accuracy>=0.75: {of} is 0.8"
    assert capsys.readouterr().err == f"{gate.text} (met)\n"
    assert gate.record == {
        "requirement": "top1_accuracy>=0.75",
        "met": True,
        "value": pytest.approx(0.8),
        "std": pytest.approx(0.2**0.5 / 10**0.5),
        "runs": [1, 2],
        "epoch": None,
    }


def test_at_best_epochs_every_metric_is_that_of_the_best_run_at_its_best_epoch():
    rows = [row(1, 0.8, best=best(5, 0.8)), row(2, 0.6, best=best(3, 0.95))]
    (gate, loss) = judge(seen(rows, "best"), requirements(["top1_accuracy>=0.9", "loss<=0.4"]))
    assert gate.met and gate.text == "required top1_accuracy>=0.9: the best run, 2, has 0.95 at epoch 3"
    assert loss.met and loss.record["value"] == 0.4


def test_github_shows_a_missed_gate_as_an_error(capsys, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    say_gates(judge(seen([row(1, 0.8)]), requirements(["top1_accuracy>=0.9", "loss<1"])))
    assert capsys.readouterr().err.splitlines()[0] == (
        "::error title=--require::required top1_accuracy>=0.9: the best run, 1, has 0.8"
    )


def test_without_a_value_or_without_a_run_no_gate_is_met():
    (gate,) = judge(seen([row(1), row(2)]), requirements(["loss<1"]))
    assert not gate.met and gate.text.endswith("the best run, 1, has no such metric yet")
    (gate,) = judge(seen([]), requirements(["loss<1"]))
    assert not gate.met and gate.text.endswith("no run has a result yet")


def test_a_metric_that_no_run_has_is_refused():
    with pytest.raises(Refusal, match="E605"):
        judge(seen([row(1, 0.8)]), requirements(["top1_acuracy>0"]))
