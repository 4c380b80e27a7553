"""A journal that is damaged or gone is made anew from what the checkpoints prove; nothing is deleted."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from rapidfire_cli.durable.failpoints import VARIABLE
from tests.scenarios.conftest import HEADER, Desk

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
def trained(tmp_path_factory) -> Desk:
    """An experiment with a bracket, trained without interruption."""
    desk = Desk(tmp_path_factory.mktemp("trained"))
    desk.write(FILE)
    desk.run("fit", "experiment.yaml")
    return desk


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Desk:
    """The same, its controller killed in the middle: of some twenty commits, ten a second at most."""
    desk = Desk(tmp_path_factory.mktemp("killed"))
    desk.write(FILE)
    armed = desk.path / "armed"
    armed.touch()
    desk.extra[VARIABLE] = f"commit journal.db 10 kill {armed}"
    command = desk.command("fit", "experiment.yaml")
    subprocess.run(
        command,
        cwd=desk.path,
        env=desk.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    desk.extra.clear()
    assert not armed.exists()
    return desk


@pytest.fixture
def desk(killed, tmp_path) -> Desk:
    shutil.copytree(killed.path, tmp_path, dirs_exist_ok=True)
    return Desk(tmp_path)


def lose(desk: Desk) -> None:
    for file in (desk.path / HOME).glob("journal.db*"):
        file.unlink()


def spoil(desk: Desk) -> None:
    for file in (desk.path / HOME).glob("journal.db*"):
        if "~" not in file.name:
            file.write_bytes(os.urandom(file.stat().st_size))


@pytest.mark.parametrize(("harm", "code"), [(lose, "E607"), (spoil, "E604")])
def test_a_journal_that_is_lost_is_rebuilt_and_the_experiment_ends_as_if_nothing_had_been(
    desk, trained, harm, code
):
    harm(desk)
    for verb in (["fit", "experiment.yaml"], ["status", "-e", "tiny"]):
        said = desk.run(*verb, exits=2).stderr
        assert f"error[{code}]" in said and "`rapidfire repair`" in said
    repaired = desk.run("repair", "-e", "tiny").stderr
    assert f"{HOME}/journal.db is rebuilt from the checkpoints of " in repaired

    desk.run("fit", "experiment.yaml")

    assert desk.weights() == trained.weights()
    assert desk.metrics() == trained.metrics()
    assert [run["state"] for run in desk.status()["runs"]] == [
        run["state"] for run in trained.status()["runs"]
    ]


def test_what_was_there_is_kept(desk):
    spoil(desk)
    junk = (desk.path / HOME / "journal.db").read_bytes()
    assert "the old one is journal.db~1" in desk.run("repair").stderr
    assert (desk.path / HOME / "journal.db~1").read_bytes() == junk
    spoil(desk)
    assert "the old one is journal.db~2" in desk.run("repair").stderr


def test_a_sound_journal_is_left_alone(desk):
    before = (desk.path / HOME / "journal.db").read_bytes()
    assert "nothing to repair" in desk.run("repair").stderr
    assert (desk.path / HOME / "journal.db").read_bytes() == before


def test_an_experiment_that_was_done_is_done_after_its_journal_is_rebuilt(trained, tmp_path):
    desk = Desk(tmp_path)
    shutil.copytree(trained.path, desk.path, dirs_exist_ok=True)
    metrics, weights = desk.metrics(), desk.weights()
    lose(desk)
    desk.run("repair", "-e", "tiny")
    states = [run["state"] for run in desk.status()["runs"]]
    assert states == [
        "completed" if run["state"] == "completed" else "interrupted" for run in trained.status()["runs"]
    ]
    assert (desk.metrics(), desk.weights()) == (metrics, weights)
    desk.run("fit", "experiment.yaml")
    assert (desk.metrics(), desk.weights()) == (metrics, weights)


def test_a_damaged_checkpoint_proves_nothing_and_is_told(desk):
    lose(desk)
    newest = max((desk.path / HOME).glob("runs/*/step-*/state.pt"), key=lambda path: path.parent.name)
    newest.write_bytes(b"")
    assert (
        f"skipped a damaged checkpoint of {newest.parents[1].name}: {newest.parent.name}: state.pt"
        in desk.run("repair", "-e", "tiny").stderr
    )
