"""An experiment that can be started, killed at any moment, and compared with one that nobody disturbed."""

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from tests.processes.forked import Forked

ROOT = Path(__file__).parents[2]
Process: TypeAlias = Forked | subprocess.Popen[str]
EXPERIMENT = """\
experiment: storm
mlspec: tests.campaign.spec:Small
execution: {{checkpoint_every: 0, workers: 2}}
config_group:
  - sha:
      num_runs: {halved}
      min_epochs: 1
      max_epochs: {halved}
      reduction_factor: 2
      metric: loss
      direction: min
      user_knobs: {{pause: {pause}}}
      train: {{batch_size: 32, optimizer: {{name: SGD, args: {{momentum: 0.9, lr: !range [0.001, 0.1]}}}}}}
  - gridsearch:
      user_knobs: {{pause: {pause}}}
      train:
        epochs: {epochs}
        batch_size: 32
        optimizer: {{name: Adam, args: {{lr: !list {rates}}}}}
        lr_scheduler: {{name: StepLR, args: {{step_size: 3}}}}
"""
LONG = EXPERIMENT.format(
    pause=0.15, halved=8, epochs=16, rates=[0.03, 0.02, 0.01, 0.005, 0.003, 0.002, 0.001, 0.0005]
)
"""148 epochs, in which many kills find room."""
SHORT = EXPERIMENT.format(pause=0.03, halved=4, epochs=4, rates=[0.01, 0.003])
LONGEST = 2.0  # seconds that anything may outlive its controller
PATIENCE = 600.0  # seconds for a sweep to end, or for one more epoch of it
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
RESULT = {
    "runs": "SELECT number, id, state, epoch, step FROM runs ORDER BY number",
    "metrics": "SELECT run, epoch, split, name, step, value FROM metrics ORDER BY run, epoch, split, name",
}


@dataclass(slots=True)
class Fit:
    """A controller under way, in a session of its own; so is everything that comes of it."""

    process: Process

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
            time.sleep(0.005)
        return time.monotonic() - killed


class Stuck(Exception):  # noqa: N818 - a state, not a mistake
    """Nothing came for too long."""


@dataclass(frozen=True, slots=True)
class Arena:
    """A directory with the experiment's file; left, nothing trains in it any more."""

    path: Path
    experiment: str = SHORT
    forked: bool = False  # from a process that has imported torch; else the command is started as people do
    fits: list[Fit] = field(default_factory=list)

    def __enter__(self) -> "Arena":
        (self.path / "storm.yaml").write_text(self.experiment)
        return self

    def __exit__(self, *_ending: object) -> None:
        for fit in self.fits:
            if not fit.over:
                fit.kill()

    def start(self) -> Fit:
        """The command that a person would give, each time the same."""
        words = ("fit", "storm.yaml")
        with (self.path / "printed.txt").open("a") as printed:
            if self.forked:
                out = printed.fileno()
                process: Process = Forked(words, self.path, ENVIRONMENT, stdout=out, stderr=out, session=True)
            else:
                process = subprocess.Popen(
                    [sys.executable, "-m", "rapidfire_cli", *words],
                    cwd=self.path,
                    env=ENVIRONMENT,
                    stdin=subprocess.DEVNULL,
                    stdout=printed,
                    stderr=printed,
                    start_new_session=True,
                    text=True,
                )
        self.fits.append(Fit(process))
        return self.fits[-1]

    def finish(self) -> dict[str, Any]:
        """Train what is left, undisturbed; what came of the whole."""
        return self.end(self.start())

    def end(self, fit: Fit) -> dict[str, Any]:
        """Let it come to its end. Raises Stuck."""
        if not fit.wait(PATIENCE):
            raise Stuck("the sweep does not end")
        return {"exit code": fit.process.returncode, **self.result()}

    def result(self) -> dict[str, Any]:
        """Where every run stands, every epoch-end value, and the bits of every final weight."""
        told = {name: self._asked(query) for name, query in RESULT.items()}
        finals = sorted(self.home.glob("runs/*/final.safetensors"))
        bits = {file.parent.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in finals}
        return {**told, "weights": bits}

    def epochs(self) -> int:
        """How many finished epochs are kept."""
        try:
            return int(self._asked("SELECT total(epoch) FROM runs")[0][0])
        except sqlite3.OperationalError:  # not begun
            return 0

    def await_epoch(self, fit: Fit) -> None:
        """Let it work until one more epoch is finished, or it is over. Raises Stuck."""
        before, began = self.epochs(), time.monotonic()
        while self.epochs() == before and not fit.wait(0.05):
            if time.monotonic() - began > PATIENCE:
                raise Stuck("no epoch ends")

    @property
    def home(self) -> Path:
        return self.path / "rapidfire_experiments/storm"

    def _asked(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.home}/journal.db?mode=ro", uri=True)) as db:
            return db.execute(query).fetchall()


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
