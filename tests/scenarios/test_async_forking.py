"""A population without rounds is killed for real and continues: real workers and checkpoints."""

import signal
from collections import Counter
from pathlib import Path

import pytest

from rapidfire_cli.durable.failpoints import KILL
from tests.scenarios.conftest import Cli
from tests.scenarios.struck import strike
from tests.scenarios.test_forking import FILE as IN_ROUNDS
from tests.scenarios.test_forking import MOMENTS
from tests.shares import share

FILE = IN_ROUNDS.replace("  population: 3\n", "  population: 4\n  mode: async\n")


def test_forks_begin_with_weights_of_the_epoch_at_which_they_take_a_place(trained):
    states = Counter(state for _, _, state, _ in trained.runs())
    forks = [origin for _, _, _, origin in trained.runs() if isinstance(origin, dict)]
    assert states["completed"] == 4 and states["pruned"] == len(forks) > 0
    said = trained.run("expand", "experiment.yaml").stdout
    assert "and up to 2 forks: at most 1 after each of 2 intervals of 1 epoch" in said
    assert f"population in group 1: {len(forks)} fork" in trained.run("replay").stdout


@pytest.mark.parametrize(("point", "occurrence"), share(MOMENTS[:4], 4))
def test_a_fit_that_is_killed_while_a_fork_is_born_continues_and_no_fork_is_born_twice(
    trained, tmp_path: Path, point: str, occurrence: int
):
    cli = Cli(tmp_path)
    cli.write(FILE)
    assert strike(cli, point, KILL, occurrence).returncode == -signal.SIGKILL
    cli.run("fit", "experiment.yaml")
    cli.run("replay")
    made = [(each["epochs"], each["place"]) for *_, each in cli.runs() if isinstance(each, dict)]
    assert len(made) == len({*made}) > 0
    assert Counter(state for _, _, state, _ in cli.runs()) == {"completed": 4, "pruned": len(made)}
    own, whole = cli.weights(), trained.weights()
    both = own.keys() & whole.keys()
    assert both and all(own[run] == whole[run] for run in both)


def test_a_rebuilt_journal_knows_forks_and_trains_nothing_twice(trained, tmp_path: Path):
    cli = Cli(tmp_path)
    cli.write(FILE)
    cli.run("fit", "experiment.yaml")
    (tmp_path / "rapidfire_experiments/tiny/journal.db").unlink()
    cli.run("repair")
    before, known = cli.weights(), cli.runs()
    cli.run("fit", "experiment.yaml")
    assert (cli.weights(), [run[:2] for run in cli.runs()]) == (before, [run[:2] for run in known])
    assert Counter(state for _, _, state, _ in cli.runs())["completed"] == 4
