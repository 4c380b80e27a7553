"""How costs grow with the number of runs: `python -m bench.scale`, with `--long` up to 100,000.

Runs do nothing (bench/nothing.py), for one epoch each, on two workers. One line per number of runs:

- fit: wall time, CPU and peak memory of the controller's process alone, the start (until the first turn), the
  peak memory of the largest worker, disk and inodes of the whole directory;
- after it: the same `fit` again, with nothing left to train, `status` and `best`, each a process of its own;
- Ctrl-C: while every run rests in a worker, two thirds through its second epochs: until the controller has
  ended, how many of the runs were durable then, and what a resident run adds to its worker's memory.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.work import nothing
from rapidfire_cli.engine.ports import Audience
from rapidfire_cli.facts import Fact, TurnStarted
from rapidfire_cli.view.board import Board

ROOT = Path(__file__).parents[1]
SIZES, LONGEST = (1_000, 5_000, 20_000), 100_000
WORKERS = 2
NAME = "scale"
MOST_BYTES = 1 << 28  # of the file
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
LOOK = 0.2  # seconds between two looks at the workers' memory


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a fit cost its controller."""

    wall: float  # seconds
    cpu: float  # seconds of the controller's process alone
    memory: int  # bytes at its peak
    started: float  # seconds until the first turn


@dataclass(frozen=True, slots=True)
class Stopped:
    """What became of a fit that Ctrl-C stopped."""

    seconds: float  # from the signal to its end
    durable: int  # runs
    resident: float  # bytes of its worker's memory for each run that rests in it


class Stopwatch:
    """An audience that notes when the first turn starts, and passes everything on."""

    def __init__(self, others: Audience) -> None:
        self._others = others
        self.started = 0.0

    def tell(self, facts: Sequence[Fact]) -> None:
        """Pass the facts on."""
        if not self.started and any(isinstance(fact, TurnStarted) for fact in facts):
            self.started = time.monotonic()
        self._others.tell(facts)


def fit() -> Fitted:
    """Train the experiment in the working directory, in this process."""
    begun = time.monotonic()
    from rapidfire_cli.app.devices import DeviceRequest
    from rapidfire_cli.app.experiments import load_experiment
    from rapidfire_cli.app.files import Given
    from rapidfire_cli.app.verbs.fit import Request, train
    from rapidfire_cli.engine.signals import StopSignal
    from rapidfire_cli.view.audience import watching

    watches: list[Stopwatch] = []

    @contextmanager
    def watch(board: Board) -> Iterator[Stopwatch]:
        with watching(board, None, sys.stderr, os.environ) as people:
            watches.append(Stopwatch(people))
            yield watches[0]

    loaded = load_experiment(Given(Path("scale.json"), max_bytes=MOST_BYTES), ".")
    train(loaded, Request(DeviceRequest(WORKERS, threads=1, gpus=0)), StopSignal(), watch)
    wall, memory = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = watches[0].started - begun if watches else 0.0
    return Fitted(wall, time.process_time(), memory * 1024, started)


def fitted(place: Path) -> tuple[Fitted, int]:
    """Train in a process of its own; the peak memory of its largest worker, too."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.scale", "--fit"],
        cwd=place,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    largest = 0
    while process.poll() is None:
        largest = max(largest, *(memory(pid, "VmHWM") for pid in workers(process.pid)), 0)
        time.sleep(LOOK)
    if process.returncode:
        raise SystemExit(f"the fit in {place} ended with exit code {process.returncode}")
    return Fitted(*json.loads(process.stdout.read().splitlines()[-1])), largest


def stopped(place: Path, runs: int) -> Stopped:
    """Train until nearly every run rests in a worker after its first epoch, then press Ctrl-C."""
    command = [sys.executable, "-m", "rapidfire_cli", "fit", "scale.json", "--dir", ".", "-o", "jsonl"]
    options = ["--workers", str(WORKERS), "--max-spec-bytes", str(MOST_BYTES), "--set", "train.epochs=2"]
    process = subprocess.Popen(
        [*command, *options],
        cwd=place,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    ended, few, early, late = 0, runs // 10, 0, 0
    for line in process.stdout:
        ended += '"epoch_ended"' in line
        if ended == few and not early:
            early = resting(process.pid)
        if ended >= runs * 19 // 20:
            late = resting(process.pid)
            break
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    process.stdout.read()
    process.wait()
    seconds = time.monotonic() - begun
    kept = sum(any(run.glob("step-*")) for run in (place / NAME / "runs").iterdir())
    return Stopped(seconds, kept, (late - early) / (ended - few))


def resting(controller: int) -> int:
    """Bytes of memory that all workers hold now."""
    return sum(memory(pid, "VmRSS") for pid in workers(controller))


def workers(controller: int) -> list[int]:
    """The processes that the controller started."""
    try:
        return [
            int(pid) for pid in Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []


def memory(pid: int, which: str) -> int:
    """Bytes; 0 where the process has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(which)), 0)


def taken(place: Path) -> tuple[int, int]:
    """Bytes on disk below the directory, and its inodes."""
    status = [entry.lstat() for entry in place.rglob("*")]
    inodes = {(each.st_dev, each.st_ino): each.st_blocks * 512 for each in status}
    return sum(inodes.values()), len(inodes)


def seconds(place: Path, *arguments: str) -> float:
    """The wall time of a command."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "rapidfire_cli", *arguments, "--dir", "."]
    subprocess.run(command, cwd=place, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun


@contextmanager
def prepared(runs: int) -> Iterator[Path]:
    """Return a directory with an experiment of that many runs."""
    with TemporaryDirectory(prefix="scale-") as name:
        file = {"experiment": NAME, **json.loads(nothing(runs).file)}
        Path(name, "scale.json").write_text(json.dumps(file), encoding="utf-8")
        yield Path(name)


def growth(sizes: Sequence[int]) -> None:
    """A line per number of runs, fitted and then looked at."""
    heads = (
        "wall",
        "CPU/run",
        "memory",
        "start",
        "worker",
        "disk/run",
        "inodes/run",
        "rerun",
        "status",
        "best",
    )
    print(f"{'runs':>8}" + "".join(f"{head:>12}" for head in heads), flush=True)
    for runs in sizes:
        with prepared(runs) as place:
            cost, worker = fitted(place)
            disk, inodes = taken(place / NAME)
            again, _ = fitted(place)
            looks = [seconds(place, verb) for verb in ("status", "best")]
        cells = (
            *(f"{cost.wall:.1f} s", f"{1000 * cost.cpu / runs:.2f} ms", f"{cost.memory / 1e6:.0f} MB"),
            *(f"{cost.started:.1f} s", f"{worker / 1e6:.0f} MB", f"{disk / runs / 1e3:.1f} kB"),
            *(f"{inodes / runs:.1f}", f"{again.wall:.1f} s", *(f"{look:.1f} s" for look in looks)),
        )
        print(f"{runs:>8,}" + "".join(f"{cell:>12}" for cell in cells), flush=True)


def stops(sizes: Sequence[int]) -> None:
    """A line per number of runs, stopped while they rest."""
    print(f"\n{'runs':>8}{'Ctrl-C':>12}{'durable':>12}{'resident run':>16}", flush=True)
    for runs in sizes:
        with prepared(runs) as place:
            found = stopped(place, runs)
        cells = f"{found.seconds:>10.1f} s{found.durable:>12,}{found.resident / 1e3:>13.1f} kB"
        print(f"{runs:>8,}{cells}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--long", action="store_true", help=f"also {LONGEST:,} runs")
    parser.add_argument("--runs", nargs="+", type=int, default=SIZES, help="these numbers of runs instead")
    parser.add_argument("--fit", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.fit:
        cost = fit()
        print(json.dumps([cost.wall, cost.cpu, cost.memory, cost.started]))
        return
    sizes = (*asked.runs, LONGEST) if asked.long else tuple(asked.runs)
    growth(sizes)
    stops(sizes)


if __name__ == "__main__":
    main()
