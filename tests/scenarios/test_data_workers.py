"""Rows that draw from every generator have the same bits in every process, also after kills and moves."""

import pytest

from rapidfire_cli.durable.failpoints import KILL, VARIABLE
from tests.scenarios.conftest import Cli
from tests.shares import share

FILE = """\
experiment: tiny
mlspec: {mlspec}
execution:
  {{workers: {workers}, data_workers: {data_workers}, data_cache: 0, disk_cache: 0, checkpoint_every: 0}}
gridsearch:
  train:
    epochs: 3
    batch_size: !list [3, 4]
    steps_per_epoch: {steps}
    optimizer: {{name: Adam, args: {{lr: 0.01}}}}
"""
BY_INDEX = {"mlspec": "tests.training.noisy:Everywhere", "steps": 7}
ITERATED = {"mlspec": "tests.training.test_streams:Torch", "steps": 7}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The weights and metrics of each kind of rows, prepared by one worker."""
    found = {}
    for rows in (BY_INDEX, ITERATED):
        cli = Cli(tmp_path_factory.mktemp("alone"))
        cli.write(FILE.format(**rows, workers=1, data_workers=0))
        cli.run("fit", "experiment.yaml")
        found[rows["mlspec"]] = cli.weights(), cli.metrics()
    return found


@pytest.mark.parametrize(
    ("rows", "first", "then"),
    share([(rows, *counts) for rows in (BY_INDEX, ITERATED) for counts in [(2, 1), (0, 2), (1, 0)]], 6),
)
def test_killed_and_moved_runs_end_with_the_same_bits(cli, undisturbed, rows, first, then):
    cli.write(FILE.format(**rows, workers=1, data_workers=first))
    process = cli.start("fit", "experiment.yaml", "-o", "jsonl")
    assert process.stdout
    next(line for line in process.stdout if '"epoch_ended"' in line)
    process.kill()
    process.communicate()
    armed = cli.path / "armed"
    armed.touch()
    cli.extra[VARIABLE] = f"rename .tmp-*-step-* 4 {KILL} {armed}"  # a worker, inside an epoch
    cli.write(FILE.format(**rows, workers=2, data_workers=then))
    cli.run("fit", "experiment.yaml")

    assert not armed.exists()
    assert (cli.weights(), cli.metrics()) == undisturbed[rows["mlspec"]]
    logs = [log.read_text() for log in cli.path.glob("rapidfire_experiments/tiny/runs/*/log.txt")]
    assert not any("draw from" in log or "other rows" in log for log in logs)
