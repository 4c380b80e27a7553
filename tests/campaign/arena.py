"""An experiment that can be started, killed at any moment, and compared with one that nobody disturbed."""

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
EXPERIMENT = """\
experiment: storm
mlspec: tests.campaign.spec:Small
execution: {checkpoint_every: 0, workers: 2}
config_group:
  - gridsearch:
      user_knobs: {pause: 0.1}
      train:
        epochs: 10
        batch_size: 32
        optimizer: {name: Adam, args: {lr: !list [0.01, 0.003]}}
        lr_scheduler: {name: StepLR, args: {step_size: 3}}
  - sha:
      num_runs: 4
      min_epochs: 1
      max_epochs: 8
      reduction_factor: 2
      metric: loss
      direction: min
      user_knobs: {pause: 0.1}
      train: {batch_size: 32, optimizer: {name: SGD, args: {momentum: 0.9, lr: !range [0.001, 0.1]}}}
"""
LONGEST = 2.0  # seconds that anything may outlive its controller
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
RESULT = {
    "runs": "SELECT number, id, state, epoch, step FROM runs ORDER BY number",
    "metrics": "SELECT run, epoch, split, name, step, value FROM metrics ORDER BY run, epoch, split, name",
}


@dataclass(slots=True)
class Fit:
    """A controller under way, in a session of its own; so is everything that comes of it."""

    process: subprocess.Popen[str]

    @property
    def over(self) -> bool:
        return self.process.poll() is not None

    def workers(self) -> list[int]:
        """The workers that are alive now."""
        return [pid for pid, parent in alive(self.process.pid) if parent == self.process.pid]

    def wait(self, seconds: float) -> bool:
        """Let it work for so long; whether it is over."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> float | None:
        """Kill the controller; the seconds until the last process of its session was gone.

        None when they were too many.
        """
        os.kill(self.process.pid, signal.SIGKILL)
        killed = time.monotonic()
        self.process.wait()
        while alive(self.process.pid):
            if time.monotonic() - killed > LONGEST:
                return None
            time.sleep(0.002)
        return time.monotonic() - killed


@dataclass(frozen=True, slots=True)
class Arena:
    """A directory with the experiment's file."""

    path: Path

    def prepare(self) -> None:
        (self.path / "storm.yaml").write_text(EXPERIMENT)

    def start(self) -> Fit:
        """The command that a person would give, each time the same."""
        command = [sys.executable, "-m", "rapidfire_cli", "fit", "storm.yaml"]
        with (self.path / "printed.txt").open("a") as printed:
            return Fit(
                subprocess.Popen(
                    command,
                    cwd=self.path,
                    env=ENVIRONMENT,
                    stdin=subprocess.DEVNULL,
                    stdout=printed,
                    stderr=printed,
                    start_new_session=True,
                    text=True,
                )
            )

    def finish(self) -> dict[str, Any]:
        """Train what is left, undisturbed; what came of the whole."""
        fit = self.start()
        code = fit.process.wait()
        return {"exit code": code, **self.result()}

    def result(self) -> dict[str, Any]:
        """Where every run stands, every epoch-end value, and the bits of every final weight."""
        home = self.path / "rapidfire_experiments/storm"
        with sqlite3.connect(f"file:{home}/journal.db?mode=ro", uri=True) as db:
            told = {name: db.execute(query).fetchall() for name, query in RESULT.items()}
        finals = sorted(home.glob("runs/*/final.safetensors"))
        bits = {file.parent.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in finals}
        return {**told, "weights": bits}

    def epochs(self) -> int:
        """How many finished epochs are kept."""
        try:
            return sum(epoch for _, _, _, epoch, _ in self.result()["runs"])
        except sqlite3.OperationalError:  # not begun
            return 0

    def await_epoch(self, fit: Fit) -> None:
        """Let it work until one more epoch is finished, or it is over."""
        before = self.epochs()
        while self.epochs() == before and not fit.wait(0.02):
            continue


def alive(session: int) -> list[tuple[int, int]]:
    """The processes of a session that still run, each with its parent."""
    return [(pid, parent) for pid, parent, its in _processes() if its == session]


def _processes() -> Iterator[tuple[int, int, int]]:
    """Process, parent, session; zombies are dead."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                fields = Path(f"/proc/{entry.name}/stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] != "Z":
                yield int(entry.name), int(fields[1]), int(fields[3])
