"""A small experiment under which the disk fails at a named point, or a process dies there."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rapidfire_cli.durable.failpoints import KILL, VARIABLE
from tests.scenarios.conftest import HEADER, Desk

FILE = (
    HEADER
    + """\
gridsearch:
  train:
    epochs: 2
    batch_size: !list [32, 64]
    optimizer: {name: Adam, args: {lr: 0.01}}
  named_metrics: [top1_accuracy]
execution: {checkpoint_every: 0, workers: 1}
"""
)


@dataclass(frozen=True, slots=True)
class Whole:
    """What the experiment passes and comes to when nothing goes wrong."""

    points: list[str]  # each once, by their names without numbers
    weights: dict[str, bytes]
    metrics: dict[str, Any]


def undisturbed(desk: Desk) -> Whole:
    """Train the two runs without a fault, and trace what they pass."""
    desk.write(FILE)
    trace = desk.path / "trace"
    desk.extra[VARIABLE] = f"trace {trace}"
    desk.run("fit", "experiment.yaml")
    desk.extra.clear()
    points = sorted({line.strip() for line in trace.read_text().splitlines()})
    return Whole(points, desk.weights(), desk.metrics())


def strike(desk: Desk, point: str, what: str, occurrence: int = 1) -> subprocess.CompletedProcess[str]:
    """`fit`, with a fault armed; it must have struck."""
    armed = desk.path / "armed"
    armed.touch()
    desk.extra[VARIABLE] = f"{point} {occurrence} {what} {armed}"
    done = subprocess.run(
        desk.command("fit", "experiment.yaml"),
        cwd=desk.path,
        env=desk.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    desk.extra.clear()
    assert not armed.exists(), f"`{point}` was not passed"
    return done


def continues(desk: Desk, whole: Whole) -> bool:
    """Whether the same command again ends with the bits and the figures of an undisturbed experiment."""
    desk.run("fit", "experiment.yaml")
    return desk.weights() == whole.weights and desk.metrics() == whole.metrics


def goes_wrong_once(directory: Path, point: str, what: str, whole: Whole) -> None:
    """Strike a new experiment at the point; the next fit brings it to the same end."""
    desk = Desk(directory)
    desk.write(FILE)
    done = strike(desk, point, what)
    expected = (-9, 0) if what == KILL else (5, 0)  # a worker that is killed is replaced
    assert done.returncode in expected, f"{point}: exit code {done.returncode}: {done.stderr}"
    assert continues(desk, whole), f"RAPIDFIRE_FAULT='{point} 1 {what} armed': another end"
