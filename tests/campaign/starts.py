"""Many starts of one experiment at the same moment: one trains, all others are turned away."""

import os
import sys
import time
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import rapidfire_cli.app.verbs.fit  # noqa: F401 - so that all who start have it loaded
from rapidfire_cli import cli
from tests.campaign.arena import ENVIRONMENT, Arena
from tests.campaign.outcome import TOLD, Outcome

HELD = 4  # the exit code of who is turned away
SIZE = 50
PATIENCE = 60.0  # seconds for all but one to have ended


def crowd(seed: int, size: int = SIZE) -> Outcome:
    """So many starts, released at once; the winner is killed when everybody else has gone."""
    outcome, random = Outcome("starts", seed, done=1), Random(f"starts {seed}")
    with TemporaryDirectory() as place, Arena(Path(place)) as arena:
        barrier, gate = os.pipe()
        children = {_start(arena, barrier, gate, random.uniform(0, 0.01)) for _ in range(size)}
        os.close(barrier)
        os.close(gate)  # and all are off
        codes = _await(children, size - 1)
        for child in children - codes.keys():
            os.kill(child, 9)
            os.waitpid(child, 0)
            outcome.controllers += 1
        wrong = sorted(code for code in codes.values() if code != HELD)
        if wrong or len(codes) != size - 1:
            outcome.failures.append(f"{size - len(codes)} winners; exit codes other than 4: {wrong}")
            outcome.failures.append((arena.path / "printed.txt").read_text()[-TOLD:])
        elif (arena.path / "printed.txt").read_text().count("in use by another process") != size - 1:
            outcome.failures.append("not everybody was told who holds the experiment")
    return outcome


def _start(arena: Arena, barrier: int, gate: int, delay: float) -> int:
    """A process that has loaded everything and waits for the gate to close."""
    if child := os.fork():
        return child
    os.close(gate)
    os.setsid()
    os.chdir(arena.path)
    os.environ.update(ENVIRONMENT)
    printed = os.open("printed.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    sys.argv = ["rapidfire", "fit", "storm.yaml"]
    os.read(barrier, 1)
    time.sleep(delay)
    _run()
    return 0


def _run() -> None:
    try:
        cli.main()
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 70)
    except BaseException:
        os._exit(70)
    os._exit(0)


def _await(children: set[int], count: int) -> dict[int, int]:
    """The exit codes of the first so many to end."""
    codes: dict[int, int] = {}
    deadline = time.monotonic() + PATIENCE
    while len(codes) < count and time.monotonic() < deadline:
        for child in children - codes.keys():
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                codes[child] = os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return codes
