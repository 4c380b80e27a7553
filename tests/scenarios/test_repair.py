"""A journal that is damaged or gone is made anew from what the checkpoints prove; nothing is deleted."""

import os
import shutil
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
config_group:
  - sha:
      num_runs: 4
      min_epochs: 1
      max_epochs: 4
      reduction_factor: 2
      metric: loss
      direction: min
      user_knobs: {pause: 0.1}
      train: {batch_size: 64, optimizer: {name: Adam, args: {lr: !range [0.0001, 0.1]}}}
  - config:
      user_knobs: {pause: 0.1}
      train: {epochs: 2, batch_size: 32, optimizer: {name: SGD, args: {lr: 0.1}}}
execution: {checkpoint_every: 0}
"""
)
HOME = Path("rapidfire_experiments/tiny")


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Cli:
    """The same, its controller killed in the middle: of some twenty commits, ten a second at most."""
    cli = Cli(tmp_path_factory.mktemp("killed"))
    cli.write(FILE)
    assert strike(cli, "commit journal.db", KILL, 10).returncode == -signal.SIGKILL
    return cli


@pytest.fixture
def cli(killed, tmp_path) -> Cli:
    sockets = shutil.ignore_patterns("*.sock")  # which a killed controller leaves behind
    shutil.copytree(killed.path, tmp_path, dirs_exist_ok=True, ignore=sockets)
    return Cli(tmp_path)


def lose(cli: Cli) -> None:
    for file in (cli.path / HOME).glob("journal.db*"):
        file.unlink()


def spoil(cli: Cli) -> None:
    for file in (cli.path / HOME).glob("journal.db*"):
        if "~" not in file.name:
            file.write_bytes(os.urandom(file.stat().st_size))


@pytest.mark.parametrize(("harm", "code"), share([(lose, "E607"), (spoil, "E604")], 2))
def test_a_journal_that_is_lost_is_rebuilt_and_the_experiment_ends_as_if_nothing_had_been(
    cli, trained, harm, code
):
    harm(cli)
    for verb in (["fit", "experiment.yaml"], ["status", "-e", "tiny"]):
        said = cli.run(*verb, exits=2).stderr
        assert f"error[{code}]" in said and "`rapidfire repair`" in said
    repaired = cli.run("repair", "-e", "tiny").stderr
    assert f"rebuilt {HOME}/journal.db from the checkpoints of " in repaired

    cli.run("fit", "experiment.yaml")

    assert cli.weights() == trained.weights()
    assert cli.metrics() == trained.metrics()
    assert [run["state"] for run in cli.status()["runs"]] == [
        run["state"] for run in trained.status()["runs"]
    ]


def test_what_was_there_is_kept(cli):
    spoil(cli)
    junk = (cli.path / HOME / "journal.db").read_bytes()
    assert "the old file is journal.db~1" in cli.run("repair").stderr
    assert (cli.path / HOME / "journal.db~1").read_bytes() == junk
    spoil(cli)
    assert "the old file is journal.db~2" in cli.run("repair").stderr


def test_a_sound_journal_is_left_alone(cli):
    before = (cli.path / HOME / "journal.db").read_bytes()
    assert "nothing to repair" in cli.run("repair").stderr
    assert (cli.path / HOME / "journal.db").read_bytes() == before


def test_an_experiment_that_was_done_is_done_after_its_journal_is_rebuilt(trained, tmp_path):
    cli = Cli(tmp_path)
    shutil.copytree(trained.path, cli.path, dirs_exist_ok=True)
    metrics, weights = cli.metrics(), cli.weights()
    lose(cli)
    cli.run("repair", "-e", "tiny")
    states = [run["state"] for run in cli.status()["runs"]]
    assert states == [
        "completed" if run["state"] == "completed" else "interrupted" for run in trained.status()["runs"]
    ]
    assert (cli.metrics(), cli.weights()) == (metrics, weights)
    cli.run("fit", "experiment.yaml")
    assert (cli.metrics(), cli.weights()) == (metrics, weights)


def test_what_people_stopped_and_deleted_does_not_come_back(trained, tmp_path):
    cli = Cli(tmp_path)
    shutil.copytree(trained.path, cli.path, dirs_exist_ok=True)
    last = max(run["number"] for run in cli.status()["runs"])
    foreseen = cli.run("delete", str(last), "--dry-run")
    assert "deleted" in foreseen.stdout and "would go to the trash" in foreseen.stderr
    assert cli.status()["runs"][-1]["state"] == "completed"
    cli.run("delete", str(last), "-y")
    cli.run("resume", "--where", "train.batch_size == 64")
    cli.run("stop", "--where", "train.batch_size == 64")
    before = {run["number"]: run["state"] for run in cli.status()["runs"]}
    assert before[last] == "deleted" and "stopped" in before.values()
    lose(cli)
    cli.run("repair", "-e", "tiny")
    after = {run["number"]: run["state"] for run in cli.status()["runs"]}
    assert after == before
    cli.run("restore", str(last))
    assert {run["number"]: run["state"] for run in cli.status()["runs"]}[last] == "completed"


def test_a_damaged_checkpoint_proves_nothing_and_is_told(cli):
    lose(cli)
    newest = max((cli.path / HOME).glob("runs/*/step-*/state.pt"), key=lambda path: path.parent.name)
    newest.write_bytes(b"")
    assert (
        f"skipped a damaged checkpoint of {newest.parents[1].name}: {newest.parent.name}: state.pt"
        in cli.run("repair", "-e", "tiny").stderr
    )
