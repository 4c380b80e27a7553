"""Successive halving with real workers: the same decisions on any number of them, and after any death."""

import os
import random
import signal
import time
from itertools import islice
from pathlib import Path

import pytest

from rapidfire_cli.engine.ports import BracketBegun
from rapidfire_cli.schedule.brackets import bracket_state
from rapidfire_cli.schedule.ledger import Decision
from rapidfire_cli.schedule.rules import policy, rule_of
from rapidfire_cli.store.history import bracket_events, history
from tests.scenarios.conftest import HEADER, Desk

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


def begun(path: Path, mode: str) -> Desk:
    path.mkdir()
    desk = Desk(path)
    desk.write(HEADER + SHA % mode)
    return desk


def journal(desk: Desk) -> Path:
    return desk.path / "rapidfire_experiments" / "tiny" / "journal.db"


def decisions(desk: Desk) -> list[Decision]:
    return [event for event in history(journal(desk)) if isinstance(event, Decision)]


def relived(desk: Desk) -> list[Decision]:
    """What the bracket decides when it hears the journal again."""
    past = history(journal(desk))
    [began] = [event for event in past if isinstance(event, BracketBegun)]
    rule = rule_of(began.rule)
    return bracket_state(
        policy(rule), began.bracket, began.goals, bracket_events(began, rule.metric, past)
    ).decisions


def outcome(desk: Desk) -> dict[int, tuple[str, int]]:
    return {run["number"]: (run["state"], run["epoch"]) for run in desk.status()["runs"]}


def fit_through(desk: Desk, luck: random.Random) -> None:
    """Fit, but kill the controller some times before it may come to its end."""
    for _ in range(KILLS):
        fit = desk.start("fit", "experiment.yaml", "--workers", str(luck.randint(1, 4)), "-o", "jsonl")
        assert fit.stdout
        for _ in islice(fit.stdout, luck.randint(1, 60)):
            pass
        time.sleep(luck.random() / 50)
        os.kill(fit.pid, signal.SIGKILL)
        fit.communicate()
    desk.run("fit", "experiment.yaml")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Desk:
    desk = begun(tmp_path_factory.mktemp("undisturbed") / "sync", "sync")
    desk.run("fit", "experiment.yaml", "--workers", "1")
    return desk


def check_same(desk: Desk, undisturbed: Desk) -> None:
    assert decisions(desk) == decisions(undisturbed)
    assert outcome(desk) == outcome(undisturbed)
    assert desk.weights() == undisturbed.weights()
    assert desk.metrics() == undisturbed.metrics()


def test_eight_runs_train_one_epoch_four_two_two_four_and_one_eight(undisturbed):
    epochs = sorted(epoch for _, epoch in outcome(undisturbed).values())
    assert epochs == [1, 1, 1, 1, 2, 2, 4, 8]
    assert len(undisturbed.weights()) == 1


def test_four_workers_decide_as_one_does(undisturbed, tmp_path):
    desk = begun(tmp_path / "four", "sync")
    desk.run("fit", "experiment.yaml", "--workers", "4")
    check_same(desk, undisturbed)


def test_every_run_can_be_explained(undisturbed):
    states = {number: state for number, (state, _) in outcome(undisturbed).items()}
    for number, state in states.items():
        said = undisturbed.run("why", str(number)).stdout
        assert said.startswith(f"run {number} ") and state in said and "rank " in said


def check_killed(path: Path, undisturbed: Desk, seed: int) -> None:
    desk = begun(path, "sync")
    fit_through(desk, random.Random(seed))
    check_same(desk, undisturbed)


def check_rushed(path: Path, seed: int) -> None:
    """Without waiting the decisions depend on the order of results, and follow from what was heard."""
    desk = begun(path, "async")
    fit_through(desk, random.Random(seed))
    assert decisions(desk) == relived(desk)
    assert {state for state, _ in outcome(desk).values()} == {"completed", "pruned"}


def test_killed_and_continued_it_decides_the_same(undisturbed, tmp_path):
    check_killed(tmp_path / "sync", undisturbed, seed=1)


def test_killed_and_continued_an_asynchronous_ledger_reproduces_itself(tmp_path):
    check_rushed(tmp_path / "async", seed=2)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(100, 112))
def test_killed_at_many_points_it_decides_the_same(undisturbed, tmp_path, seed):
    check_killed(tmp_path / "sync", undisturbed, seed)
    check_rushed(tmp_path / "async", seed)
