"""A small experiment under which the disk fails at a named point, or a process dies there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rapidfire_cli.durable.failpoints import KILL, VARIABLE
from tests.scenarios.conftest import HEADER, Cli

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


@dataclass(frozen=True, slots=True)
class Struck:
    """How a process ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def undisturbed(cli: Cli) -> Whole:
    """Train the two runs without a fault, and trace what they pass."""
    cli.write(FILE)
    trace = cli.path / "trace"
    cli.extra[VARIABLE] = f"trace {trace}"
    cli.run("fit", "experiment.yaml")
    cli.extra.clear()
    points = sorted({line.strip() for line in trace.read_text().splitlines()})
    return Whole(points, cli.weights(), cli.metrics())


def strike(cli: Cli, point: str, what: str, occurrence: int = 1) -> Struck:
    """`fit`, with a fault armed; it must have struck."""
    armed = cli.path / "armed"
    armed.touch()
    cli.extra[VARIABLE] = f"{point} {occurrence} {what} {armed}"
    process = cli.start("fit", "experiment.yaml")
    printed, said = process.communicate()
    cli.extra.clear()
    assert not armed.exists(), f"`{point}` was not passed"
    return Struck(process.wait(), printed, said)


def continues(cli: Cli, whole: Whole) -> bool:
    """Whether the same command again ends with the bits and the figures of an undisturbed experiment."""
    cli.run("fit", "experiment.yaml")
    return cli.weights() == whole.weights and cli.metrics() == whole.metrics


def goes_wrong_once(directory: Path, point: str, what: str, whole: Whole) -> None:
    """Strike a new experiment at the point; the next fit brings it to the same end."""
    cli = Cli(directory)
    cli.write(FILE)
    done = strike(cli, point, what)
    expected = (-9, 0) if what == KILL else (5, 0)  # a worker that is killed is replaced
    assert done.returncode in expected, f"{point}: exit code {done.returncode}: {done.stderr}"
    assert continues(cli, whole), f"RAPIDFIRE_FAULT='{point} 1 {what} armed': another end"
