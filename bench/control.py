"""How soon a live fit answers requests, and what they cost its sweep: `python -m bench.control [--rounds N]`.

The digits sweep of `bench.sweep`, with more epochs, on two workers: undisturbed, and with 100 requests
spread over it, in turn. Every other request stops the last run and the next one resumes it at once, so each
is written to the disk and both sweeps train the same; a run that stayed stopped would train at the end, while
a worker has nothing to do. An answer's time is the client's, from connecting to the last byte. A sweep's time
is that from the first turn's start to the last one's end; beside it stands the CPU time of the controller,
which disturbances of the machine change less.
"""

import argparse
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.work import DIGITS, PROCESSES, Work
from rapidfire_cli.app.control.asking import Reply, new_request, send
from rapidfire_cli.requests import Resume, Stop
from rapidfire_cli.store.layout import ExperimentDir

ROOT = Path(__file__).parents[1]
REQUESTS = 100
EPOCHS = 100  # a sweep of half a minute or more
PHASE = "SELECT max(ended) - min(started), (SELECT count(*) FROM requests) FROM turns"
READY = "SELECT count(*) FROM turns"
TICKS = os.sysconf("SC_CLK_TCK")  # per second, in which the kernel counts CPU time


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one sweep took, in seconds."""

    seconds: float
    controller: float  # CPU time
    answers: tuple[float, ...]


def sweep(work: Work, requests: int, seconds: float) -> Sweep:
    """Train with `requests` requests, spread evenly over `seconds`."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "sweep.yaml")
        file.write_text(work.file, encoding="utf-8")
        options = ["--dir", folder, "--workers", str(PROCESSES), "--threads", "1", "--gpus", "0"]
        command = [sys.executable, "-m", "rapidfire_cli", "fit", str(file), *options]
        home = ExperimentDir(Path(folder, "sweep"))
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as fit:
            _wait_for_training(home)
            answers = tuple(_ask(home, work.runs, requests, seconds / max(1, requests)))
            spent = 0.0
            while fit.poll() is None:
                spent = max(spent, _cpu(fit.pid))
                time.sleep(0.05)
        if fit.returncode:
            raise SystemExit(f"fit ended with exit code {fit.returncode}")
        with closing(sqlite3.connect(home.journal)) as journal:
            took, taken = journal.execute(PHASE).fetchone()
        assert taken == requests
        return Sweep(took, spent, answers)


def _wait_for_training(home: ExperimentDir) -> None:
    while True:
        with (
            suppress(sqlite3.Error),
            closing(sqlite3.connect(f"file:{home.journal}?mode=ro", uri=True)) as db,
        ):
            if db.execute(READY).fetchone()[0]:
                return
        time.sleep(0.05)


def _ask(home: ExperimentDir, run: int, requests: int, pause: float) -> Iterator[float]:
    """Stop and resume the run in turn; the seconds until each answer."""
    for place in range(requests):
        resumes = bool(place % 2)
        began = time.perf_counter()
        reply = send(home, new_request(Resume((run,)) if resumes else Stop((run,)), "python"))
        took = time.perf_counter() - began
        _check(reply)
        yield took
        time.sleep(max(0.0, 2 * pause - took) if resumes else 0.0)


def _check(reply: Reply) -> None:
    if not (reply.live and all(answer.changed for answer in reply.answers)):
        raise SystemExit(f"the request had no effect on a live fit: {reply}")


def _cpu(process: int) -> float:
    """Seconds of CPU time of the process, without its children; 0 once it has ended."""
    try:
        fields = Path("/proc", str(process), "stat").read_text("ascii").rpartition(") ")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def tell(quiet: Sequence[Sweep], asked: Sequence[Sweep]) -> None:
    """Print the figures."""
    answers = sorted(answer for each in asked for answer in each.answers)
    late = sum(answer > 0.2 for answer in answers)
    print(
        f"answers: median {median(answers) * 1e3:.0f} ms, 99 of 100 within "
        f"{answers[len(answers) * 99 // 100] * 1e3:.0f} ms, slowest {answers[-1] * 1e3:.0f} ms, "
        f"{late} of {len(answers)} later than 200 ms"
    )
    for name, sweeps in (("undisturbed", quiet), (f"with {REQUESTS} requests", asked)):
        took = [each.seconds for each in sweeps]
        spent = [each.controller for each in sweeps]
        print(
            f"{name:20} {median(took):7.2f} s (least {min(took):.2f} s), "
            f"controller {median(spent):.2f} s of CPU (least {min(spent):.2f} s)"
        )
    ratios = [least(asked) / least(quiet) for least in (_median, _least)]
    more = min(each.controller for each in asked) - min(each.controller for each in quiet)
    share = more / (PROCESSES * min(each.seconds for each in quiet))
    print(f"sweep with requests / without: {ratios[0]:.3f} by median, {ratios[1]:.3f} by the least")
    print(f"CPU time of the requests: {more * 1e3:.0f} ms, {share:.2%} of what the sweep's two cores have")


def _median(sweeps: Sequence[Sweep]) -> float:
    return median(each.seconds for each in sweeps)


def _least(sweeps: Sequence[Sweep]) -> float:
    return min(each.seconds for each in sweeps)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="sweeps of each kind (default 3)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"of each run (default {EPOCHS})")
    chosen = parser.parse_args()
    work = replace(DIGITS, constants={**DIGITS.constants, "train.epochs": chosen.epochs})
    quiet, asked = [sweep(work, 0, 0.0)], list[Sweep]()
    for turn in range(chosen.rounds):
        asked.append(sweep(work, REQUESTS, quiet[0].seconds / 2))
        if turn:
            quiet.append(sweep(work, 0, 0.0))
    tell(quiet, asked)


if __name__ == "__main__":
    main()
