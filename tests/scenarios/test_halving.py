"""Successive halving with real workers: the same decisions on any number of them, and after any death."""

import os
import random
import signal
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path

import pytest

from rapidfire_cli.facts import BracketBegun, Decision
from rapidfire_cli.stopping.bracket import bracket_state
from rapidfire_cli.stopping.registry import rule_of
from rapidfire_cli.store.history import bracket_events, history
from tests.scenarios.conftest import HEADER, Cli

KILLS = 2
SHA = """\
execution: {checkpoint_every: 0.01, chunks: 2}
sha:
  num_runs: 8
  min_epochs: 1
  max_epochs: 8
  reduction_factor: 2
  metric: loss
  direction: min
  mode: %s
  train: {batch_size: 16, optimizer: {name: Adam, args: {lr: !range {start: 1e-4, end: 1e-1, log: true}}}}
"""


def begun(path: Path, mode: str) -> Cli:
    path.mkdir()
    cli = Cli(path)
    cli.write(HEADER + SHA % mode)
    return cli


def journal(cli: Cli) -> Path:
    return cli.path / "rapidfire_experiments" / "tiny" / "journal.db"


def decisions(cli: Cli) -> list[Decision]:
    return [event for event in history(journal(cli)) if isinstance(event, Decision)]


def relived(cli: Cli) -> list[Decision]:
    """What the bracket decides when it hears the journal again."""
    past = history(journal(cli))
    [began] = [event for event in past if isinstance(event, BracketBegun)]
    rule = rule_of(began.rule)
    return bracket_state(rule, began.bracket, began.goals, bracket_events(began, past)).decisions


def outcome(cli: Cli) -> dict[int, tuple[str, int]]:
    return {run["number"]: (run["state"], run["epoch"]) for run in cli.status()["runs"]}


def fit_through(cli: Cli, luck: random.Random) -> None:
    """Fit, but kill the controller some times before it may come to its end."""
    for _ in range(KILLS):
        fit = cli.start("fit", "experiment.yaml", "--workers", str(luck.randint(1, 4)), "-o", "jsonl")
        assert fit.stdout
        for _ in islice(fit.stdout, luck.randint(1, 60)):
            pass
        time.sleep(luck.random() / 50)
        with suppress(ProcessLookupError):  # it may have come to its end
            os.kill(fit.pid, signal.SIGKILL)
        fit.communicate()
    cli.run("fit", "experiment.yaml")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Cli:
    cli = begun(tmp_path_factory.mktemp("undisturbed") / "sync", "sync")
    cli.run("fit", "experiment.yaml", "--workers", "1")
    return cli


def check_same(cli: Cli, undisturbed: Cli) -> None:
    assert decisions(cli) == decisions(undisturbed)
    assert outcome(cli) == outcome(undisturbed)
    assert cli.weights() == undisturbed.weights()
    assert cli.metrics() == undisturbed.metrics()


def test_eight_runs_train_one_epoch_four_two_two_four_and_one_eight(undisturbed):
    epochs = sorted(epoch for _, epoch in outcome(undisturbed).values())
    assert epochs == [1, 1, 1, 1, 2, 2, 4, 8]
    assert len(undisturbed.weights()) == 1


def test_four_workers_decide_as_one_does(undisturbed, tmp_path):
    cli = begun(tmp_path / "four", "sync")
    cli.run("fit", "experiment.yaml", "--workers", "4")
    check_same(cli, undisturbed)


def test_every_run_can_be_explained(undisturbed):
    states = {number: state for number, (state, _) in outcome(undisturbed).items()}
    for number, state in states.items():
        said = undisturbed.run("why", str(number)).stdout
        assert said.startswith(f"run {number} ") and state in said and "rank " in said


def check_killed(path: Path, undisturbed: Cli, seed: int) -> None:
    cli = begun(path, "sync")
    fit_through(cli, random.Random(seed))
    check_same(cli, undisturbed)


def check_rushed(path: Path, seed: int) -> None:
    """Without waiting the decisions depend on the order of results, and follow from what was heard."""
    cli = begun(path, "async")
    fit_through(cli, random.Random(seed))
    assert decisions(cli) == relived(cli)
    assert {state for state, _ in outcome(cli).values()} == {"completed", "pruned"}


def test_killed_and_continued_it_decides_the_same(undisturbed, tmp_path):
    check_killed(tmp_path / "sync", undisturbed, seed=1)


def test_killed_and_continued_an_asynchronous_ledger_reproduces_itself(tmp_path):
    check_rushed(tmp_path / "async", seed=2)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(100, 112))
def test_killed_at_many_points_it_decides_the_same(undisturbed, tmp_path, seed):
    check_killed(tmp_path / "sync", undisturbed, seed)
    check_rushed(tmp_path / "async", seed)
