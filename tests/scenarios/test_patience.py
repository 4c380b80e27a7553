"""Patience with real workers: it prunes the same runs on any number of workers, and after any death."""

import json
import random
from pathlib import Path

import pytest

from rapidfire_cli.facts import Decision
from tests.scenarios.conftest import HEADER, Cli
from tests.scenarios.test_halving import decisions, fit_through, outcome, relived

GRID = """\
execution: {checkpoint_every: 0.01, chunks: 2}
gridsearch:
  early_stopping: {rule: patience, metric: loss, direction: min, epochs: 2}
  train: {epochs: 8, batch_size: 16, optimizer: {name: Adam, args: {lr: !list [0.0, 0.003, 0.5]}}}
"""


def begun(path: Path) -> Cli:
    path.mkdir()
    cli = Cli(path)
    cli.write(HEADER + GRID)
    return cli


def by_run(cli: Cli) -> list[Decision]:
    """The decisions about each run in their order; runs are judged in the order in which they train."""
    return sorted(decisions(cli), key=lambda each: (each.verdicts[0].run, each.epochs))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Cli:
    cli = begun(tmp_path_factory.mktemp("undisturbed") / "one")
    cli.run("fit", "experiment.yaml", "--workers", "1")
    return cli


def check_same(cli: Cli, undisturbed: Cli) -> None:
    assert by_run(cli) == by_run(undisturbed)
    assert outcome(cli) == outcome(undisturbed)
    assert cli.weights() == undisturbed.weights()
    assert cli.metrics() == undisturbed.metrics()


def test_a_run_that_does_not_learn_is_pruned_and_one_that_does_is_not(undisturbed):
    assert outcome(undisturbed)[1] == ("pruned", 3)
    assert outcome(undisturbed)[2] == ("completed", 8)


def test_two_workers_decide_as_one_does(undisturbed, tmp_path):
    cli = begun(tmp_path / "two")
    cli.run("fit", "experiment.yaml", "--workers", "2")
    check_same(cli, undisturbed)


def test_killed_and_continued_it_decides_the_same(undisturbed, tmp_path):
    cli = begun(tmp_path / "killed")
    fit_through(cli, random.Random(3))
    check_same(cli, undisturbed)
    assert decisions(cli) == relived(cli)


def test_why_says_since_when_nothing_improved(undisturbed):
    said = undisturbed.run("why", "1").stdout
    assert "run 1 was pruned at epoch 3: no improvement on loss since epoch 1 (best 0." in said


def test_replay_confirms_its_ledger_and_says_what_it_cannot_simulate(undisturbed):
    said = undisturbed.run("replay").stdout
    assert said.startswith("bracket 1: 3 runs by loss; ") and "all follow from" in said
    said = undisturbed.run("replay", "--reduction-factor", "2").stdout
    assert "instead of `rule: patience`, which cannot be simulated with other settings" in said


def test_check_points_at_a_wrong_setting(cli):
    cli.write(HEADER + GRID.replace("epochs: 2}", "epoch: 2}"))
    refused = cli.run("check", "experiment.yaml", "--static", exits=2).stderr
    assert "E201" in refused and "hint: did you mean `epochs`?" in refused and "^^^^^" in refused


def test_expand_shows_the_runs_and_the_time_when_none_ends_early(undisturbed):
    found = json.loads(undisturbed.run("expand", "experiment.yaml", "--slots", "1", "-o", "json").stdout)
    assert len(found["runs"]) == 3 and found["timeline"]["run_epochs"] == 3 * 8
