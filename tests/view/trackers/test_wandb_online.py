"""What arrives at a server of Weights & Biases, sent by W&B's own client."""

import os
import subprocess
import sys

import pytest

from rapidfire_cli.terms import RunState
from rapidfire_cli.view.trackers.tracker import Began, Changed, Measured, Place
from rapidfire_cli.view.trackers.wandb import WandB
from tests.store.sweep import METADATA
from tests.view.trackers.examples import run
from tests.view.trackers.wandb_child import curves
from tests.view.trackers.wandb_server import Received, Server, serving

pytest.importorskip("wandb", reason="needs pip install 'rapidfire-cli[wandb]'")

ID = ("digits", f"{7:016x}")
waits = pytest.mark.campaign  # for W&B, which uploads values every 15 seconds


@pytest.fixture
def server(monkeypatch):
    with serving() as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        yield found


def tracker(directory, epochs: int) -> WandB:
    return WandB(Place(directory, METADATA, {}, lambda number: curves(epochs)), "online", streams=True)


def over(state: RunState = RunState.COMPLETED, cause: str = "") -> Changed:
    return Changed(run(7), 1.7e9 + 9, state, cause, {"best/epoch": 2, "best/val/loss": 0.25})


def epochs(received: Received) -> list[int]:
    return [line["epoch"] for line in received.history]


def await_epochs(server: Server, wanted: list[int]) -> None:
    with server.arrived:
        assert server.arrived.wait_for(lambda: epochs(server.runs[ID]) == wanted, 60), server.runs[ID]


def killed_after(directory, count: int, server: Server, uploaded: list[int]) -> None:
    """Log epochs in a process that is killed once the server has those of `uploaded`."""
    command = [sys.executable, "-m", "tests.view.trackers.wandb_child", f"{directory}", f"{count}"]
    with subprocess.Popen(command, env=os.environ.copy(), stdout=subprocess.PIPE) as child:
        assert child.stdout and child.stdout.readline() == b"logged\n"
        await_epochs(server, uploaded)
        child.kill()


def test_a_run_arrives_with_its_group_config_values_and_end(server, tmp_path):
    logging = tracker(tmp_path, 2)
    logging.log([Began(run(7), 1.7e9), *curves(2), over()])
    logging.close()
    received = server.runs[ID]
    assert (received.group, received.name, received.exit_code) == ("digits", "run-007", 0)
    assert received.config["train.optimizer.args.lr"] == {"value": 0.1}
    assert [(line["epoch"], line["step"], line["train/loss"]) for line in received.history] == [
        (1, 20, 1.0),
        (2, 40, 0.5),
    ]
    assert (received.summary["state"], received.summary["best/val/loss"]) == ("completed", 0.25)


def test_a_run_that_failed_arrives_with_its_cause(server, tmp_path):
    logging = tracker(tmp_path, 1)
    logging.log([over(RunState.FAILED, "ValueError: no")])
    logging.close()
    assert (server.runs[ID].exit_code, server.runs[ID].summary["cause"]) == (1, "ValueError: no")
    assert epochs(server.runs[ID]) == [1]


@waits
def test_values_arrive_while_the_run_goes_on(server, tmp_path):
    known: list[Measured] = []
    logging = WandB(Place(tmp_path, METADATA, {}, lambda number: [*known]), "online", streams=True)
    logging.log([Began(run(7), 1.7e9)])
    for number in (1, 2):
        known.append(curves(2)[number - 1])
        logging.log(known[-1:])
        await_epochs(server, [*range(1, number + 1)])
        assert server.runs[ID].exit_code is None
    logging.close()
    assert epochs(server.runs[ID]) == [1, 2]


@waits
def test_notes_that_a_tracker_gets_again_after_a_kill_are_not_doubled(server, tmp_path):
    killed_after(tmp_path, 2, server, uploaded=[1, 2])
    logging = tracker(tmp_path, 3)
    logging.log([*curves(3), over()])
    logging.close()
    assert epochs(server.runs[ID]) == [1, 2, 3]


def test_values_that_were_logged_and_never_uploaded_are_uploaded_later(server, tmp_path):
    killed_after(tmp_path, 2, server, uploaded=[])
    logging = tracker(tmp_path, 2)
    logging.log([over()])
    logging.close()
    assert epochs(server.runs[ID]) == [1, 2]
