"""Every way to ask for a clone looks at it in the same way before it is admitted: with a real worker."""

import json
from contextlib import suppress
from pathlib import Path

import pytest

from rapidfire_cli.app.control.background import BackgroundFit
from rapidfire_cli.app.page import ask as ask_page
from rapidfire_cli.app.verbs.top import desk
from rapidfire_cli.problems import Refusal, render
from rapidfire_cli.requests import CloneRun
from rapidfire_cli.store.layout import ExperimentDir
from tests.scenarios.conftest import Cli
from tests.shares import share

FILE = """\
experiment: tiny
mlspec: tests.scenarios.specs:Wide
execution: {workers: 1}
config:
  user_knobs: {width: 16, peeks: false}
  train: {epochs: 1, batch_size: 32, optimizer: {name: Adam, args: {lr: 0.01}}}
"""
WIDER = "user_knobs.width=24"
CHANGED = (
    "the architecture changed: `0.bias` is (24,) float32, was (16,) float32; "
    "`0.weight` is (24, 8) float32, was (16, 8) float32; `2.weight` is (2, 24) float32, "
    "was (2, 16) float32"
)
WRONG, UNKNOWN = "+train.optimizer.args.nope=1", "Adam has no argument `nope`"


@pytest.fixture
def home(trained, forks_workers) -> ExperimentDir:
    return ExperimentDir(trained.path / "rapidfire_experiments/tiny")


def by_shell(cli: Cli, ask: CloneRun) -> str:
    sets = [word for change in ask.changes for word in ("--set", change)]
    warm = [f"--warm-start={ask.warm}"] if ask.warm else []
    return cli.run("clone", "1", *sets, *warm, exits=2).stderr


def by_page(cli: Cli, ask: CloneRun) -> str:
    body = {"verb": "clone", "runs": [1], "changes": ask.changes, "warm": ask.warm}
    with pytest.raises(Refusal) as refused:
        ask_page(ExperimentDir(cli.path / "rapidfire_experiments/tiny"), json.loads(json.dumps(body)))
    return "\n".join(map(render, refused.value.problems))


def by_top(cli: Cli, ask: CloneRun) -> str:
    return desk(ExperimentDir(cli.path / "rapidfire_experiments/tiny")).check(ask)


def by_python(cli: Cli, ask: CloneRun) -> str:
    fit = BackgroundFit(ExperimentDir(cli.path / "rapidfire_experiments/tiny"), lambda _: None, lambda: None)
    with suppress(Exception):
        fit.wait()
    changes = dict(change.lstrip("+").split("=") for change in ask.changes)
    with pytest.raises(Refusal) as refused:
        fit.clone(1, {knob: int(value) for knob, value in changes.items()}, warm_start=ask.warm or False)
    return "\n".join(map(render, refused.value.problems))


EVERY_WAY = pytest.mark.parametrize("by", share([by_shell, by_page, by_top, by_python], 4))


@EVERY_WAY
def test_a_changed_architecture_is_refused_with_the_tensors(trained, home, by):
    said = by(trained, CloneRun((1,), (WIDER,), "all"))
    assert CHANGED in said and "`--warm-start=matching`" in said
    assert [run["number"] for run in trained.status()["runs"]] == [1]


@pytest.mark.parametrize("by", share([by_page, by_top, by_shell], 3))
def test_a_problem_that_only_a_worker_finds_is_refused_with_its_place(trained, home, by):
    said = by(trained, CloneRun((1,), (WRONG,)))
    assert UNKNOWN in said and "--set:1:23" in said


def test_a_model_that_needs_real_tensors_is_looked_at_as_well(trained, home):
    assert CHANGED in by_page(trained, CloneRun((1,), (WIDER, "user_knobs.peeks=true"), "all"))


def test_a_model_that_takes_the_weights_is_cloned(tmp_path: Path):
    cli = Cli(tmp_path)
    cli.write(FILE)
    cli.run("fit", "experiment.yaml")
    assert "cloned as run 2" in cli.run("clone", "1", "--warm-start", "--set", "user_knobs.peeks=true").stdout
    assert "cloned as run 3" in cli.run("clone", "1", "--warm-start=matching", "--set", WIDER).stdout
    cli.run("fit", "experiment.yaml")
    assert [run["state"] for run in cli.status()["runs"]] == ["completed"] * 3
