"""A small experiment to keep and to look at: runs of two knobs, and what an epoch of one says."""

from pathlib import Path

from rapidfire_cli.facts import EpochEnded, Metric
from rapidfire_cli.store.journal import SqliteJournal
from rapidfire_cli.store.metadata import Metadata
from rapidfire_cli.store.queries import Best, RunRow
from rapidfire_cli.terms import Objective, Run, RunState, canonical

VARIED = ("train.batch_size", "train.optimizer.args.lr")
METADATA = Metadata("digits", Objective("top1_accuracy", "max"), VARIED)


def runs(count: int) -> list[Run]:
    numbers = range(1, count + 1)
    return [Run(number, f"{number:016x}", 1, config(number), seed=42) for number in numbers]


def config(number: int) -> str:
    return canonical(leaf(number))


def leaf(number: int) -> dict:
    args = {"lr": (1e-2, 1e-3, 1e-4)[number % 3]}
    return {
        "train": {
            "epochs": 5,
            "batch_size": (32, 64)[number % 2],
            "optimizer": {"name": "Adam", "args": args},
        }
    }


def enrolled(path: Path, count: int = 3, metadata: Metadata = METADATA) -> SqliteJournal:
    journal = SqliteJournal(path, clock=lambda: 1_700_000_000.0)
    journal.enroll(metadata, runs(count), [5] * count)
    return journal


def epoch(run: int, epoch: int, accuracy: float, loss: float = 0.5) -> EpochEnded:
    metrics = (
        Metric("train", "loss", loss),
        Metric("validation", "loss", loss + 0.1),
        Metric("validation", "top1_accuracy", accuracy),
    )
    return EpochEnded(run, epoch, epoch * 20, metrics, seconds=1.0)


def best(epoch: int, accuracy: float) -> Best:
    return Best(epoch, accuracy, {"validation": {"loss": 0.4, "top1_accuracy": accuracy}})


def row(number: int, accuracy: float | None = None, state=RunState.COMPLETED, **changes) -> RunRow:
    metrics = {} if accuracy is None else {"validation": {"loss": 0.5, "top1_accuracy": accuracy}}
    values = {
        "number": number,
        "id": f"{number:016x}",
        "group": 1,
        "state": state,
        "epoch": 5,
        "epochs": 5,
        "step": 100,
        "metrics": metrics,
        "error": "",
        "leaf": config(number),
    }
    return RunRow(**{**values, **changes})
