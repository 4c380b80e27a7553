"""A search is killed for real and continues with the same proposals: real workers and a real sampler."""

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
search:
  num_runs: 5
  startup: 2
  metric: loss
  direction: min
  train:
    epochs: 2
    batch_size: !list [32, 64]
    optimizer: {name: Adam, args: {lr: !range {start: 0.001, end: 0.1, log: true}}}
"""
)
MOMENTS = [
    ("write manifest.jsonl", 1),  # asked, not listed
    ("sync manifest.jsonl", 1),  # listed, not in the journal
    ("commit journal.db", 9),  # in training
    ("write manifest.jsonl", 3),
]


def test_proposed_runs_are_shown_as_such(trained):
    found = trained.runs()
    assert [state for _, _, state, _ in found] == ["completed"] * 5
    assert [origin["place"] for _, _, _, origin in found if isinstance(origin, dict)] == [3, 4, 5]
    said = trained.run("why", "4").stdout
    assert "it was proposed as number 4 of its search, from the results of the earlier runs" in said
    expected = "search in group 1: 3 proposals by tpe, all follow from the recorded results"
    assert expected in trained.run("replay").stdout
    assert "and 3 runs that tpe proposes as results come" in trained.run("expand", "experiment.yaml").stdout
    assert trained.run("expand", "experiment.yaml", "--count").stdout == "5\n"
    assert "E511" in trained.run("fit", "experiment.yaml", "--max-runs", "4", exits=2).stderr


@pytest.mark.parametrize(("point", "occurrence"), share(MOMENTS, 4))
def test_after_a_kill_the_proposals_are_the_same_and_none_is_made_twice(
    trained, tmp_path: Path, point: str, occurrence: int
):
    cli = Cli(tmp_path)
    cli.write(FILE)
    assert strike(cli, point, KILL, occurrence).returncode == -signal.SIGKILL
    cli.run("fit", "experiment.yaml")
    assert cli.outcome() == trained.outcome()
