"""A real worker process without torch: obeys at once, and misbehaves where a run's config says so."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from rapidfire_cli import facts
from rapidfire_cli.engine import messages
from rapidfire_cli.engine.local.heartbeat import DUMP, Page
from rapidfire_cli.engine.messages import Assignment, Finding, Probed, Ready
from rapidfire_cli.facts import EpochEnded, Evicted, Metric, Saved
from rapidfire_cli.worker import Pipe

ROOM = 100_000  # runs of one byte


def misbehave(how: str | None) -> None:
    match how:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            sys.exit(3)
        case "child":  # leaves a child behind that would outlive it
            child = subprocess.Popen(["sleep", "600"])
            print(child.pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        case "leave":  # joins the controller's process group
            os.setpgid(0, os.getpgid(os.getppid()))
            print("left", flush=True)
            time.sleep(600)
        case "slow":
            time.sleep(30)
        case "hang":
            Page(int(sys.argv[2])).mark(7)
            time.sleep(30)


def take(assignment: Assignment, until: int, slot: int) -> list[messages.Report]:
    config = json.loads(assignment.config)
    misbehave(config.get("does"))
    run = assignment.run
    if config.get("raises"):
        return [facts.RunFailed(run, "error", "ValueError: no", 1)]
    epoch = EpochEnded(run, until, until, (Metric("validation", "loss", 1 / until),), 0.1)
    saved = [Saved(run, until, until)] if until == config["epochs"] else []
    return [epoch, *saved, facts.TurnEnded(run, slot, until, until, size=1)]


def once(when: str) -> None:
    """Die here if the environment says so; one process does, whoever deletes the file."""
    if os.environ.get("OBEDIENT", "").startswith(f"{when} "):
        with contextlib.suppress(FileNotFoundError):
            Path(os.environ["OBEDIENT"].partition(" ")[2]).unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    signal.signal(DUMP, signal.SIG_IGN)
    if os.environ.get("OBEDIENT") == "fails to start":
        sys.exit(9)
    once("killed")
    pipe = Pipe(socket.socket(fileno=int(sys.argv[1])))
    setup = pipe.next()
    assert isinstance(setup, messages.Setup)
    pipe.tell(Ready(os.getpid(), "cpu", ROOM))
    while True:
        for report in answers(pipe.next(), setup.slot):
            pipe.tell(report)


def answers(order: messages.Order, slot: int) -> list[messages.Report]:
    match order:
        case messages.Probe(leaves):
            once("asked")
            wrong = [index for index, leaf in enumerate(leaves) if "wrong" in leaf]
            return [Probed(tuple(Finding(index, ("train",), "E402", "wrong") for index in wrong))]
        case messages.Train((assignment,), until, rank=rank):
            last = json.loads(assignment.config).get("last")
            if rank and last and rank.rank > 0:
                misbehave(last)
                return [messages.Stranded(assignment.run, "Connection closed by peer")]
            return [] if rank and (last or rank.rank > 0) else take(assignment, until, slot)
        case messages.Evict(run):
            return [Saved(run, 1, 1), Evicted(run, 1)]
        case _:
            return []


if __name__ == "__main__":
    main()
