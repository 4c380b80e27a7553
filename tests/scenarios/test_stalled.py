"""A reader that stalls, of stderr, stdout or a terminal, never stops training."""

import json
import os
import pty
import signal
import time
from collections.abc import Iterator

import pytest

from tests.scenarios.conftest import GRID, HEADER, Cli, Process

SMALL = GRID.replace("epochs: 3", "epochs: 2").replace("[16, 32]", "[16]").replace("0.01, 0.001", "0.01")
CTRL_S, CTRL_Q = b"\x13", b"\x11"


@pytest.fixture
def full() -> Iterator[tuple[int, int]]:
    """A pipe that takes no more: the end to read, the end to write."""
    ends = os.pipe()
    os.set_blocking(ends[1], False)
    try:
        while True:
            os.write(ends[1], b"\n" * 4096)
    except BlockingIOError:
        os.set_blocking(ends[1], True)
    yield ends
    os.close(ends[0])


def start(cli: Cli, *arguments: str, **streams: int) -> Process:
    cli.extra.update(TERM="xterm-256color", PYTHONUTF8="1", CI="")
    return cli.start("fit", "experiment.yaml", *arguments, **streams)


def await_weights(cli: Cli) -> None:
    while not cli.weights():  # the test's time limit is the bound
        time.sleep(0.05)


def read_on(descriptor: int) -> bytes:
    """All that is written until the last writer has gone."""
    read = b""
    while True:
        try:
            piece = os.read(descriptor, 1 << 16)
        except OSError:  # a terminal's way to say it
            piece = b""
        if not piece:
            return read
        read += piece


def test_a_fit_whose_stderr_is_a_full_pipe_trains_to_its_end(cli, full):
    cli.write(HEADER + SMALL)
    fit = start(cli, stderr=full[1])
    os.close(full[1])
    printed, _ = fit.communicate()
    assert fit.returncode == 0
    assert printed.startswith("rank") and len(cli.weights()) == 1


def test_events_that_nobody_reads_yet_are_kept_while_training_goes_on(cli, full):
    cli.write(HEADER + SMALL)
    fit = start(cli, "-o", "jsonl", stdout=full[1])
    os.close(full[1])
    await_weights(cli)
    events = [json.loads(line)["event"] for line in read_on(full[0]).splitlines() if line]
    assert fit.wait() == 0
    assert events.count("epoch_ended") == 2 and events[-1] == "run_changed"


@pytest.mark.campaign
def test_the_first_ctrl_c_stops_a_fit_whose_readers_have_all_stalled(cli, full):
    cli.write(HEADER + GRID.replace("epochs: 3", "epochs: 5000"))
    fit = start(cli, "-o", "jsonl", stdout=full[1], stderr=full[1])
    os.close(full[1])
    while not [*(cli.path / "rapidfire_experiments/tiny/runs").glob("*/log.txt")]:  # one has begun
        time.sleep(0.05)
    fit.send_signal(signal.SIGINT)
    assert fit.wait() == 130
    assert {run["state"] for run in cli.status()["runs"]} <= {"interrupted", "queued"}


def test_a_fit_on_a_terminal_stopped_by_ctrl_s_trains_to_its_end_and_shows_the_ranking_later(cli):
    cli.write(HEADER + SMALL)
    ours, theirs = pty.openpty()
    os.write(ours, CTRL_S)
    fit = start(cli, stdout=theirs, stderr=theirs)
    os.close(theirs)
    await_weights(cli)
    os.write(ours, CTRL_Q)
    shown = read_on(ours).decode()
    os.close(ours)
    assert fit.wait() == 0
    assert "rank" in shown
