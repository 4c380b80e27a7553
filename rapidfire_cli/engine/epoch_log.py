"""The epochs that a run's checkpoints do not repeat: `epochs.jsonl`, beside them.

A checkpoint lists the last epochs itself. Once TOGETHER of them have gathered, they are moved into this file,
and checkpoints say how far it goes for them, so that they stay small however long the run is. Nothing that a
run computes depends on these epochs; they are what `repair` rebuilds curves from.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rapidfire_cli.durable import disk, publication
from rapidfire_cli.facts import EpochEnded, Metric
from rapidfire_cli.terms import Plain, canonical, spoken

NAME = "epochs.jsonl"
TOGETHER = 64  # epochs (assumed: a manifest of some kB, which a disk writes as one of few bytes)


@dataclass(frozen=True, slots=True)
class Logged:
    """How far the file goes for a checkpoint; a later checkpoint may have added to it."""

    epochs: int = 0
    bytes: int = 0
    sha256: str = hashlib.sha256().hexdigest()


NOTHING = Logged()


def log(directory: Path, ended: Sequence[EpochEnded], logged: Logged) -> Logged:
    """Move epochs that are not logged into the file, durably, when enough have gathered. Raises OSError."""
    if len(ended) - logged.epochs < TOGETHER:
        return logged
    lines = "".join(f"{canonical(told(one))}\n" for one in ended[logged.epochs :]).encode()
    whole = (_read(directory, logged) or b"") + lines
    disk.make_directory(directory)
    publication.write(directory / NAME, whole.decode())
    return Logged(len(ended), len(whole), hashlib.sha256(whole).hexdigest())


def read(directory: Path, run: int, logged: Logged) -> tuple[EpochEnded, ...] | None:
    """The logged epochs of the run; None if the file is missing or damaged."""
    lines = _read(directory, logged)
    return None if lines is None else tuple(heard(run, json.loads(line)) for line in lines.splitlines())


def _read(directory: Path, logged: Logged) -> bytes | None:
    if not logged.epochs:
        return b""
    try:
        with (directory / NAME).open("rb") as file:
            found = file.read(logged.bytes)
    except OSError:
        return None
    return found if hashlib.sha256(found).hexdigest() == logged.sha256 else None


def told(ended: EpochEnded) -> dict[str, Plain]:
    """The epoch as plain data."""
    metrics: list[Plain] = [[one.split, one.name, spoken(one.value)] for one in ended.metrics]
    return {"epoch": ended.epoch, "step": ended.step, "seconds": ended.seconds, "metrics": metrics}


def heard(run: int, plain: Mapping[str, Any]) -> EpochEnded:
    """The inverse of `told`."""
    metrics = tuple(Metric(split, name, float(value)) for split, name, value in plain["metrics"])
    return EpochEnded(run, plain["epoch"], plain["step"], metrics, plain["seconds"])
