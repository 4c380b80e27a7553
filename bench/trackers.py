"""What a tracker costs training: `python -m bench.trackers [--tracker NAME] [--rounds N]`.

The digits sweep of `bench.sweep`, with more epochs, on two workers: without a tracker and with one, in turn.
A sweep's time is that from the first turn's start to the last one's end. Beside it is the CPU time of the
process that logs, which has the lowest priority and so takes only what training leaves.
"""

import argparse
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.work import DIGITS, PROCESSES, Work
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.terms import Tracker

ROOT = Path(__file__).parents[1]
EPOCHS = 100  # a sweep of half a minute or more
PHASE = "SELECT max(ended) - min(started) FROM turns"
TICKS = os.sysconf("SC_CLK_TCK")  # per second, in which the kernel counts CPU time
LOGS = b"rapidfire_cli.app.tracking.process"  # in the command line of the process that logs


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one sweep took, in seconds."""

    seconds: float
    whole: float  # from the command's start to its end
    logging: float  # CPU time of the process that logs


def sweep(work: Work, tracker: str | None) -> Sweep:
    """Train, and log to the tracker meanwhile."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "sweep.yaml")
        file.write_text(work.file, encoding="utf-8")
        options = ["--dir", folder, "--workers", str(PROCESSES), "--threads", "1", "--gpus", "0"]
        options += ["--tracker", tracker] if tracker else []
        command = [sys.executable, "-m", "rapidfire_cli", "fit", str(file), *options]
        began, spent = time.perf_counter(), 0.0
        said = Path(folder, "stderr.txt")
        with (
            said.open("w", encoding="utf-8") as lines,  # a pipe that is not read would delay the end
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=lines) as fit,
        ):
            while fit.poll() is None:
                spent = max(spent, sum(map(cpu, logging(fit.pid))))
                time.sleep(0.05)
            whole = time.perf_counter() - began
        if fit.returncode or "behind" in said.read_text("utf-8"):
            raise SystemExit(f"fit ended with exit code {fit.returncode}\n{said.read_text('utf-8')[-2000:]}")
        with closing(sqlite3.connect(ExperimentDir(Path(folder, "sweep")).journal)) as journal:
            return Sweep(journal.execute(PHASE).fetchone()[0], whole, spent)


def logging(controller: int) -> list[int]:
    """The processes of the controller that log to trackers."""
    try:
        children = (
            Path("/proc", str(controller), "task", str(controller), "children").read_text("ascii").split()
        )
        return [int(child) for child in children if LOGS in Path("/proc", child, "cmdline").read_bytes()]
    except OSError:
        return []


def cpu(process: int) -> float:
    """Seconds of CPU time of the process; 0 once it has ended."""
    try:
        fields = Path("/proc", str(process), "stat").read_text("ascii").rpartition(") ")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def tell(tracker: str, without: Sequence[Sweep], logged: Sequence[Sweep]) -> None:
    """Print the figures."""
    for name, sweeps in (("without", without), (f"with {tracker}", logged)):
        took, whole = ([each.seconds for each in sweeps], [each.whole for each in sweeps])
        print(
            f"{name:20} training {median(took):6.2f} s (least {min(took):.2f} s), "
            f"the whole command {median(whole):6.2f} s (least {min(whole):.2f} s)"
        )
    of = [
        kind(each.seconds for each in logged) / kind(each.seconds for each in without)
        for kind in (median, min)
    ]
    spent = median(each.logging for each in logged)
    share = spent / (PROCESSES * median(each.seconds for each in logged))
    print(f"training with {tracker} / without: {of[0]:.3f} by median, {of[1]:.3f} by the least")
    print(f"CPU time of the process that logs: {spent:.2f} s, {share:.1%} of what the sweep's two cores have")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tracker", choices=[*map(str, Tracker)], default="tensorboard")
    parser.add_argument("--rounds", type=int, default=3, help="sweeps of each kind (default 3)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"of each run (default {EPOCHS})")
    chosen = parser.parse_args()
    work = replace(DIGITS, constants={**DIGITS.constants, "train.epochs": chosen.epochs})
    without, logged = list[Sweep](), list[Sweep]()
    for _ in range(chosen.rounds):
        without.append(sweep(work, None))
        logged.append(sweep(work, chosen.tracker))
    tell(chosen.tracker, without, logged)


if __name__ == "__main__":
    main()
