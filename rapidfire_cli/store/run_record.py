"""What the journal has about one run beside its state: when and where it trained, what went wrong."""

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast, get_args

from rapidfire_cli.facts import (
    CheckpointDamaged,
    DevicesChanged,
    MemoryGiven,
    RunFailed,
    RunLeft,
    RunReplaced,
    WorkerDied,
)
from rapidfire_cli.store.connection import reader
from rapidfire_cli.store.facts import KINDS, fact

TURNS = """
    SELECT count(*), min(started), max(ifnull(ended, started)), sum(ifnull(ended - started, 0)),
      json_group_array(DISTINCT slot) FROM turns WHERE run = ?"""
OPENED = "SELECT environment FROM runs WHERE number = ?"
TROUBLES = """
    SELECT at, kind, body FROM events WHERE json_extract(body, '$.run') = ?
    AND kind IN (SELECT value FROM json_each(?)) ORDER BY seq"""

OfDevices: TypeAlias = DevicesChanged | MemoryGiven
TroubleFact: TypeAlias = OfDevices | RunFailed | CheckpointDamaged | WorkerDied | RunLeft | RunReplaced


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that happened to a run, and when, in seconds since the epoch."""

    at: float
    fact: TroubleFact


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run's turns, its environment and its troubles; times are in seconds."""

    turns: int
    began: float | None  # since the epoch; None if it never trained
    ended: float | None  # of its last turn
    trained: float
    slots: tuple[int, ...]
    environment: Mapping[str, Any]  # packages, device, threads, when it was last opened
    troubles: tuple[Trouble, ...]


def run_record(journal: Path, run: int) -> RunRecord:
    """Read it. Raises Refusal where nothing can be read."""
    with reader(journal) as db:
        turns, began, ended, trained, slots = db.execute(TURNS, [run]).fetchone()
        (environment,) = db.execute(OPENED, [run]).fetchone() or (None,)
        return RunRecord(
            *(turns, began, ended, trained or 0.0, tuple(sorted(json.loads(slots)))),
            json.loads(environment) if environment else {},
            tuple(_troubles(db, run)),
        )


def of_devices(journal: Path, run: int) -> tuple[OfDevices, ...]:
    """How its devices changed, in order. Raises Refusal where nothing can be read."""
    with reader(journal) as db:
        return tuple(cast("OfDevices", each.fact) for each in _troubles(db, run, get_args(OfDevices)))


def _troubles(
    db: sqlite3.Connection, run: int, kinds: Collection[type] = get_args(TroubleFact)
) -> Iterator[Trouble]:
    names = json.dumps([name for name, each in KINDS.items() if each in kinds])
    for at, name, body in db.execute(TROUBLES, [run, names]):
        yield Trouble(at, cast("TroubleFact", fact(name, json.loads(body))))
