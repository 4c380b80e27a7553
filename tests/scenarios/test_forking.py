"""A population is killed for real and continues with the same forks: real workers and checkpoints."""

import signal
from pathlib import Path

import pytest

from rapidfire_cli.durable.failpoints import KILL
from tests.scenarios.conftest import HEADER, Cli
from tests.scenarios.struck import strike
from tests.shares import share

FILE = (
    HEADER
    + """\
execution: {checkpoint_every: 0, workers: 1}
pbt:
  population: 3
  perturb_every: 1
  quantile: 0.34
  metric: loss
  direction: min
  train:
    epochs: 3
    batch_size: 32
    optimizer: {name: Adam, args: {lr: !range {start: 0.001, end: 0.1, log: true}}}
"""
)
MOMENTS = [
    ("write manifest.jsonl", 1),  # the weights are in the fork's directory, the fork is not listed
    ("sync manifest.jsonl", 1),  # listed, not in the journal
    ("commit journal.db", 9),  # in training
    ("sync .tmp-*-origin", 1),  # the weights are copied, not published
    ("rename .tmp-*-origin", 2),
    ("write manifest.jsonl", 2),
]


def test_forks_are_shown_as_such(trained):
    found = trained.runs()
    assert [state for _, _, state, _ in found].count("completed") == 3
    origins = [origin for _, _, _, origin in found if isinstance(origin, dict)]
    assert [(origin["why"], origin["epochs"]) for origin in origins] == [("fork", 1), ("fork", 2)]
    said = trained.run("expand", "experiment.yaml").stdout
    assert "and 2 forks: 1 after each of 2 rounds of 1 epoch" in said and "9 run-epochs" in said
    assert trained.run("expand", "experiment.yaml", "--count").stdout == "5\n"
    assert "E511" in trained.run("fit", "experiment.yaml", "--max-runs", "4", exits=2).stderr
    assert "population in group 1: 2 forks, all follow" in trained.run("replay").stdout
    assert "loss" in trained.run("evaluate", "5").stdout, "its id hashes what it began with"
    assert "5 runs" in trained.run("check", "experiment.yaml", "--static").stdout


def test_two_workers_train_the_same_forks_to_the_same_bits(trained, tmp_path: Path):
    cli = Cli(tmp_path)
    cli.write(FILE)
    cli.run("fit", "experiment.yaml", "--workers", "2")
    assert cli.outcome() == trained.outcome()


@pytest.mark.parametrize(("point", "occurrence"), share(MOMENTS, 7))
def test_after_a_kill_the_forks_are_the_same_and_none_is_born_twice(
    trained, tmp_path: Path, point: str, occurrence: int
):
    cli = Cli(tmp_path)
    cli.write(FILE)
    assert strike(cli, point, KILL, occurrence).returncode == -signal.SIGKILL
    cli.run("fit", "experiment.yaml")
    assert cli.outcome() == trained.outcome()


def test_a_rebuilt_journal_knows_forks_and_their_places(trained, tmp_path: Path):
    cli = Cli(tmp_path)
    cli.write(FILE)
    cli.run("fit", "experiment.yaml")
    (tmp_path / "rapidfire_experiments/tiny/journal.db").unlink()
    cli.run("repair")
    cli.run("fit", "experiment.yaml")
    assert cli.outcome() == trained.outcome()


def test_freeze_writes_forks_as_warm_starts(trained, tmp_path: Path):
    frozen = tmp_path / "frozen.yaml"
    trained.run("freeze", "-o", str(frozen))
    assert frozen.read_text().count("warm_start: {run: ") == 2
    cli = Cli(tmp_path)
    cli.run("fit", "frozen.yaml")
    assert {*trained.weights().values()} <= {*cli.weights("frozen").values()}
