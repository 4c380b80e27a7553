"""Runs are not continued with other code or data than they began with, unless a person says so."""

import json

import pytest

from tests.scenarios.conftest import Cli

SPEC = """\
import os
from pathlib import Path

import torch
from rapidfire_cli.mlspec import MLSpec


class Own(MLSpec):
    def load_data(self, data, cfg):
        numbers = [float(line) for line in Path("rows.txt").read_text().split()]
        return {"train": [{"x": torch.tensor([number])} for number in numbers]}

    def create_model(self, cfg):
        return torch.nn.Linear(1, 1)

    def compute_forward(self, model, batch, cfg):
        dies = Path("dies")
        if cfg["user_knobs"]["does"] == "die" and dies.exists():
            dies.unlink()
            Path("own.py").open("a").write("one_more = True\\n")
            os._exit(1)
        if cfg["user_knobs"]["does"] == "fail" and Path("broken").exists() and model.weight.grad_fn is None:
            if (steps := Path("steps")).exists() and steps.stat().st_size > 2:
                raise RuntimeError("broken")
            steps.open("a").write(".")
        return {"loss": model(batch["x"]).square().mean()}
"""
FILE = """\
experiment: own
mlspec: own:Own
execution: {checkpoint_every: 0, workers: 1}
gridsearch:
  user_knobs: {does: !list [fail, nothing]}
  train: {epochs: 3, batch_size: 2, optimizer: {name: SGD, args: {lr: 0.1}}}
"""


@pytest.fixture
def begun(cli) -> Cli:
    """One run is completed, the other failed after it had trained for some steps."""
    cli.write(SPEC, "own.py")
    cli.write("1 2 3 4", "rows.txt")
    cli.write("", "broken")
    cli.write(FILE)
    cli.run("fit", "experiment.yaml", exits=1)
    assert [run["state"] for run in status(cli)] == ["failed", "completed"]
    (cli.path / "broken").unlink()
    return cli


def status(cli: Cli) -> list:
    return json.loads(cli.run("status", "--output", "json").stdout)["runs"]


def test_with_the_same_code_and_data_it_continues_though_a_comment_was_added(begun):
    begun.write(
        "# a remark\n\n" + SPEC.replace("    def create", "\n    # another\n    def create"), "own.py"
    )
    done = begun.run("fit", "experiment.yaml")
    assert "warning" not in done.stderr and "note" not in done.stderr


def test_changed_code_is_refused_and_told_with_the_two_ways_on(begun):
    begun.write(SPEC.replace("square()", "abs()"), "own.py")
    refused = begun.run("fit", "experiment.yaml", exits=2)
    assert refused.stderr.splitlines()[-3:] == [
        "error[E606]: code or data changed since the last checkpoint of run 1",
        "found: changed: module own",
        "hint: use `fit --fresh` to start over, or `fit --accept-changes` to continue",
    ]
    assert [run["state"] for run in status(begun)] == ["failed", "completed"]
    accepted = begun.run("fit", "experiment.yaml", "--accept-changes")
    assert "note: run 2 was trained with older code" in accepted.stderr
    assert [run["state"] for run in status(begun)] == ["completed", "completed"]


def test_changed_data_are_refused_and_starting_over_takes_them(begun):
    begun.write("1 2 3 5", "rows.txt")
    assert "found: changed: split train" in begun.run("fit", "experiment.yaml", exits=2).stderr
    begun.run("fit", "experiment.yaml", "--fresh")


def test_another_environment_is_warned_of_and_the_run_goes_on(begun):
    done = begun.run("fit", "experiment.yaml", "--threads", "2")
    assert "warning: run 1 will not be bitwise reproducible: threads changed from 1 to 2" in done.stderr
    assert [run["state"] for run in status(begun)] == ["completed", "completed"]


def test_code_that_changes_while_runs_train_is_refused_by_the_next_worker(cli):
    cli.write(SPEC, "own.py")
    cli.write("1 2 3 4", "rows.txt")
    cli.write("", "dies")
    cli.write(FILE.replace("fail", "die"))
    refused = cli.run("fit", "experiment.yaml", exits=2)
    assert "a new worker would train run 1 with different code" in refused.stderr
    assert "found: changed: module own" in refused.stderr
    cli.run("fit", "experiment.yaml", "--accept-changes")


def test_a_rebuilt_journal_knows_what_runs_began_with(begun):
    for file in (begun.path / "rapidfire_experiments/own").glob("journal.db*"):
        file.unlink()
    begun.run("repair", "-e", "own")
    begun.write(SPEC + "changed = True\n", "own.py")
    refused = begun.run("fit", "experiment.yaml", exits=2).stderr
    assert "error[E606]: code or data changed since the last checkpoint of run 1" in refused
    assert "changed: module own" in refused
