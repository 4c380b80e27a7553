"""How fast runs train: what their turns took, and on how many slots."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rapidfire_cli.store.connection import reader
from rapidfire_cli.store.metadata import read_metadata

SECONDS = """
    SELECT number, sum(ended - started) / epoch FROM turns JOIN runs ON run = number
    WHERE ended IS NOT NULL AND epoch > 0 GROUP BY number"""
TRAINED = "SELECT run, sum(ended - started) FROM turns WHERE ended IS NOT NULL GROUP BY run"
SLOTS = "SELECT count(DISTINCT slot) FROM (SELECT slot FROM turns ORDER BY rowid DESC LIMIT ?)"
WORKERS = "SELECT kind, body FROM events WHERE kind IN ('worker_started', 'worker_died') ORDER BY seq"
LAST = 64  # turns that show which slots are in use (assumed)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds per epoch by run, and the slots that were in use lately."""

    seconds: Mapping[int, float]
    slots: int
    gpus: int = 0  # that these slots are on

    def of(self, run: int) -> float:
        """Seconds per epoch of the run; of one that has finished none, what the others took on average."""
        return self.seconds.get(run, sum(self.seconds.values()) / len(self.seconds))


def pace(journal: Path) -> Pace:
    """Read it. Raises Refusal where nothing can be read."""
    with reader(journal) as db:
        seconds = dict(db.execute(SECONDS).fetchall())
        slots, packing = _slots(db), read_metadata(db).packing
        gpus = sum(device != "cpu" for device in slots.values()) // (packing.runs if packing else 1)
        return Pace(seconds, len(slots) or db.execute(SLOTS, [LAST]).fetchone()[0], gpus)


def _slots(db: sqlite3.Connection) -> dict[int, str]:
    """The devices of the last fit's workers, by slot; two that live on one slot are of two fits."""
    devices: dict[int, str] = {}
    alive: set[int] = set()
    for kind, body in db.execute(WORKERS):
        told = json.loads(body)
        slot = told["slot"]
        if kind == "worker_died":
            alive.discard(slot)
            continue
        if slot in alive:
            devices, alive = {}, set()
        devices[slot] = told["device"]
        alive.add(slot)
    return devices


def trained_seconds(journal: Path) -> dict[int, float]:
    """Seconds that each run was trained, by run. Raises Refusal where nothing can be read."""
    with reader(journal) as db:
        return dict(db.execute(TRAINED).fetchall())
