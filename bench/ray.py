"""What a Ray cluster costs: `python -m bench.ray`, on a cluster of two simulated nodes on this machine.

- turn: the seconds from an order to its last report, of a worker here and of one on a node, in turn;
- controller: its CPU time for each turn, with 1,000 slots behind a bridge that only pretends to be one;
- sweep: 16 runs of the digits MLP on both nodes, and the same by Ray Tune on the same cluster.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.peers import rapidfire
from bench.sweep import SHORT
from bench.work import DIGITS
from rapidfire_cli.engine.driver import Driver
from rapidfire_cli.engine.jobs import Job
from rapidfire_cli.engine.local.backend import LocalBackend
from rapidfire_cli.engine.messages import Assignment, Probe, Ready, Train, decode, encode
from rapidfire_cli.engine.ports import Backend, Slot
from rapidfire_cli.engine.ray.backend import RayBackend, wish
from rapidfire_cli.engine.ray.wire import Connected, Joined, Kill, Start, line, read, relayed
from rapidfire_cli.facts import Fact, TurnEnded
from tests.engine.local.test_backend import COMMAND, SETUP
from tests.engine.obedient import answers
from tests.engine.ray.clusters import Simulated, two_nodes

ROOT = Path(__file__).parents[1]
TURNS, ROUNDS = 100, 5
SLOTS, RUNS = 1_000, 4_000
CONFIG = json.dumps({"epochs": 2, "train": {"epochs": 2}})
SLOT = Slot(0, "cpu", visible="", share=1.0)


def turns(cluster: Simulated) -> tuple[list[float], list[float]]:
    """Seconds of a turn here and on a node, in turn."""
    os.environ.update(cluster.environment)
    with TemporaryDirectory() as folder:
        place = Path(folder)
        asked = replace(
            wish(cluster.address, place / "cluster", workers=2, threads=1), command=tuple(COMMAND)
        )
        setup = replace(SETUP, misc=folder)
        here = LocalBackend([SLOT], COMMAND, {0: setup}, place)
        there = RayBackend(asked, place / "ray.log").use(lambda slot: setup)
        found: tuple[list[float], list[float]] = ([], [])
        try:
            workers = [(backend, backend.start(backend.slots[0])) for backend in (here, there)]
            for backend, worker in workers:
                while not any(isinstance(report, Ready) for report in _reports(backend, worker)):
                    continue
            for _ in range(ROUNDS):
                for times, (backend, worker) in zip(found, workers, strict=True):
                    times += [_turn(backend, worker) for _ in range(TURNS)]
            workers[0][1].kill()
        finally:
            there.close()
    return found


def _turn(backend: Backend, worker) -> float:  # type: ignore[no-untyped-def]
    start = time.perf_counter()
    worker.send(Train((Assignment(7, CONFIG, 42, "."),), 1))
    while not any(isinstance(report, TurnEnded) for report in _reports(backend, worker)):
        continue
    return time.perf_counter() - start


def _reports(backend: Backend, worker) -> Iterator[object]:  # type: ignore[no-untyped-def]
    for speaking in backend.wait([worker], 10):
        yield from speaking.receive()


@dataclass
class Count:
    """A journal and an audience that only count turns."""

    turns: int = 0
    begun: float = field(default_factory=time.process_time)

    def take(self, facts: list[Fact]) -> None:
        self.turns += sum(isinstance(fact, TurnEnded) for fact in facts)

    def commit(self) -> None:
        pass

    def tell(self, facts: list[Fact]) -> None:
        pass


def controller() -> float:
    """CPU seconds of the controller for a turn, with many slots, without a journal."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        pretended = [sys.executable, "-m", "bench.ray", "--pretend"]
        asked = wish("pretended", place / "cluster", workers=SLOTS, threads=1)
        backend = RayBackend(asked, place / "ray.log", pretended).use(lambda slot: SETUP)
        driver, seen = Driver(backend, lambda: False), Count()
        driver.probe(Probe(()), RUNS)
        jobs = {run: Job(Assignment(run, CONFIG, 42, "."), 2) for run in range(1, RUNS + 1)}
        start = time.process_time()
        driver.train(jobs, (), seen, seen)
        cpu = time.process_time() - start
        driver.close()
        backend.close()
    return cpu / seen.turns


def pretend(descriptor: int) -> None:
    """A bridge to workers that do what they are told at once."""
    connection = socket.socket(fileno=descriptor)
    stream = connection.makefile("rwb")

    def say(*lines: bytes) -> None:
        stream.write(b"".join(each + b"\n" for each in lines))
        stream.flush()

    stream.readline()
    slots = tuple(Slot(index, "cpu", "", 0.1, host=f"node-{index // 10}") for index in range(SLOTS))
    machines = [slots[first : first + 10] for first in range(0, SLOTS, 10)]
    say(*(line(Joined(machine, 1)) for machine in machines), line(Connected()))
    places: dict[int, int] = {}
    for received in stream:
        [message] = read([received.rstrip(b"\n")])
        match message:
            case Start(worker, slot):
                places[worker] = slot.index
                say(relayed(worker, encode(Ready(1, "cpu", 10**9)).rstrip()))
            case Kill(worker):
                continue
            case (int(worker), bytes(order)):
                reports = answers(decode(order), places[worker])
                say(*(relayed(worker, encode(report).rstrip()) for report in reports))


def sweep(cluster: Simulated) -> tuple[float, float]:
    """Seconds of the training phase: ours and Ray Tune's, actors reused."""
    work = DIGITS.cut(SHORT)
    os.environ.update(cluster.environment)
    ours = rapidfire.contend(work, ("--ray", cluster.address)).seconds
    command = [sys.executable, "-m", "bench.sweep", "--one", "Ray Tune, actors reused"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "RAY_ADDRESS": cluster.address},
        input=json.dumps(asdict(work)),
        capture_output=True,
        text=True,
        check=True,
    )
    return ours, json.loads(done.stdout.splitlines()[-1])["seconds"]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pretend", action="store_true", help=argparse.SUPPRESS)
    given, rest = parser.parse_known_args()
    if given.pretend:
        pretend(int(rest[0]))
        return
    print(f"controller, {SLOTS:,} slots: {1000 * controller():.2f} ms of CPU for each turn (at most 1)")
    with two_nodes(usual=True) as cluster:
        here, there = (1000 * median(times) for times in turns(cluster))
        print(f"turn: {here:.2f} ms here, {there:.2f} ms on a node, {there - here:.2f} ms more (at most 2)")
        ours, theirs = sweep(cluster)
        print(f"sweep: {ours:.1f} s, Ray Tune {theirs:.1f} s, {theirs / ours:.1f} times as long")


if __name__ == "__main__":
    main()
