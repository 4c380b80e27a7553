"""A thousand runs and more: nothing waits for ever, whatever leaves at once."""

import json
import signal
from collections import Counter
from itertools import islice

import pytest

from tests.scenarios.conftest import Cli

NOTHING = """\
experiment: tiny
mlspec: bench.nothing:NothingSpec
"""
HALVING = """\
sha:
  num_runs: 1000
  min_epochs: 1
  max_epochs: 3
  reduction_factor: 3
  metric: train.loss
  direction: min
  train: {batch_size: 1, optimizer: {name: SGD, args: {lr: !range [0.001, 0.1]}}}
"""
GRID = """\
gridsearch:
  user_knobs: {number: !list %s}
  train: {epochs: 2, batch_size: 1, optimizer: {name: SGD, args: {lr: 0.1}}}
"""


def interrupted(cli: Cli, epochs: int, *arguments: str) -> None:
    """Fit until so many epochs are finished, then press Ctrl-C once."""
    fit = cli.start("fit", "experiment.yaml", "-o", "jsonl", *arguments)
    assert fit.stdout
    for _ in islice((line for line in fit.stdout if '"epoch_ended"' in line), epochs):
        pass
    fit.send_signal(signal.SIGINT)
    _, said = fit.communicate()
    assert fit.returncode == 130, said


def durable(cli: Cli) -> int:
    """How many runs have a checkpoint at the epoch that they reached."""
    runs = cli.path / "rapidfire_experiments/tiny/runs"
    facts = (json.loads(path.read_text())["facts"] for path in runs.glob("*/step-*/MANIFEST.json"))
    steps = {fact["run"]: fact["step"] for fact in facts}
    return sum(steps.get(run["number"]) == run["step"] > 0 for run in cli.status()["runs"])


@pytest.mark.campaign
def test_a_halving_of_a_thousand_runs_on_one_worker_ends(cli):
    """Two thirds of the runs leave their worker at once."""
    cli.write(NOTHING + HALVING)
    cli.run("fit", "experiment.yaml", "--workers", "1")
    states = Counter((run["state"], run["epoch"]) for run in cli.status()["runs"])
    assert states == {("pruned", 1): 667, ("completed", 3): 333}


@pytest.mark.campaign
def test_ctrl_c_makes_hundreds_of_resident_runs_durable(cli):
    cli.write(NOTHING + GRID % [*range(700)])
    interrupted(cli, 650, "--workers", "1")
    assert durable(cli) >= 650


@pytest.mark.campaign
def test_ctrl_c_with_two_thousand_resident_runs_keeps_all_and_continues_bit_for_bit(cli):
    """All of them are durable only if they were within the grace."""
    cli.write(NOTHING + GRID % [*range(2_000)])
    interrupted(cli, 1_950, "--workers", "2")
    assert durable(cli) >= 1_950
    cli.run("fit", "experiment.yaml", "--workers", "2")
    weights, metrics = cli.weights(), cli.metrics()
    cli.run("fit", "experiment.yaml", "--workers", "2", "--fresh")
    assert len(weights) == 2_000
    assert (cli.weights(), cli.metrics()) == (weights, metrics)
