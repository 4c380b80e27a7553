"""Read an experiment's journal as notes for a tracker, from a cursor on.

Theory of operation
-------------------
A cursor says how much of the journal a tracker has logged: the events up to `seq` and, for each run in the
middle of an epoch, the step up to which values inside it are logged. `read` returns the next notes and the
cursor after them. The cursor is saved once the tracker has logged the notes. After a kill some notes are
therefore read again, and none is lost. If the cursor belongs to another journal, such as one from before
`repair`, reading starts at the beginning.

Only ends of epochs and changes of state become notes; other events do not count as behind. An epoch whose end
is recorded twice becomes one note.

`store.feed` serves views on the screen: it keeps a connection open, begins at the end of the journal and
forgets its place with its process. A tracker needs everything from the beginning, across processes.
"""

import json
import math
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

from rapidfire_cli.facts import EpochEnded, Metric, RunChanged, compared_value
from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.connection import begun, nothing_yet, reader
from rapidfire_cli.store.facts import fact
from rapidfire_cli.store.metadata import read_metadata
from rapidfire_cli.store.queries import origin_of
from rapidfire_cli.terms import UNFINISHED, Run
from rapidfire_cli.view.trackers.secrets import without_credentials
from rapidfire_cli.view.trackers.tracker import (
    Began,
    Changed,
    Measured,
    Note,
    Place,
    TrackedRun,
    kinds,
    tag,
    tracked,
)

BATCH = 1000  # events that are read at once (assumed)

LOGGED = "kind IN ('epoch_ended', 'run_changed')"
EVENTS = f"SELECT seq, at, kind, body FROM events WHERE seq > ? AND {LOGGED} ORDER BY seq LIMIT ?"
FIRST = "SELECT at FROM events ORDER BY seq LIMIT 1"
BEHIND = f"SELECT count(*) FROM events WHERE seq > ? AND {LOGGED}"
EARLIER = f"""
    SELECT json_extract(body, '$.run'), max(ifnull(json_extract(body, '$.epoch'), 0)) FROM events
    WHERE seq <= ? AND {LOGGED} GROUP BY 1"""
RUN = """
    SELECT number, id, "group", config, seed, replicate, origin FROM runs WHERE number = ?"""
INSIDE = """
    SELECT step, name, value FROM so_far WHERE run = ? AND epoch = ? AND step > ? ORDER BY step"""
UNDER_WAY = """
    SELECT number, epoch + 1, (SELECT max(ended) FROM turns WHERE run = number) FROM runs
    WHERE epoch < epochs AND state <> 'queued'
    AND EXISTS (SELECT 1 FROM so_far WHERE run = number AND so_far.epoch = runs.epoch + 1)"""
MEASURED = """
    SELECT metrics.epoch, metrics.step, split, name, value FROM metrics JOIN runs ON run = number
    WHERE run = ? AND metrics.epoch <= runs.epoch ORDER BY metrics.epoch"""


Inside: TypeAlias = dict[int, tuple[int, int]]
"""Epoch under way and last step, by run."""

Row: TypeAlias = tuple[int, float, str, str]
"""Sequence number, time, kind and body of an event."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How much of the journal a tracker has logged."""

    seq: int = 0  # of the last event
    inside: Inside = field(default_factory=dict)  # values inside epochs
    first: float | None = None  # time of the journal's first event, which identifies the journal


@dataclass(frozen=True, slots=True)
class Batch:
    """The next notes, the cursor after them, and whether the journal has more."""

    notes: tuple[Note, ...]
    cursor: Cursor
    more: bool


class NoteReader:
    """Reads an experiment's journal from a cursor on."""

    def __init__(self, journal: Path, cursor: Cursor) -> None:
        self._journal = journal
        self._cursor = cursor
        self._runs: dict[int, TrackedRun] = {}
        self._ended: dict[int, int] | None = None  # the last epoch that was read, by run

    def read(self) -> Batch:
        """Return the next notes; none if nothing happened since. Raises Refusal where nothing can be read."""
        with reader(self._journal) as db:
            if not begun(db):
                return Batch((), self._cursor, more=False)
            self._cursor = _valid(db, self._cursor)
            if self._ended is None:
                self._ended = dict(db.execute(EARLIER, [self._cursor.seq]))
            rows = db.execute(EVENTS, [self._cursor.seq, BATCH]).fetchall()
            inside = dict(self._cursor.inside)
            notes = [note for row in rows for note in self._notes(db, row, inside)]
            if not (more := len(rows) == BATCH):
                notes += self._under_way(db, inside)
        self._cursor = replace(self._cursor, seq=rows[-1][0] if rows else self._cursor.seq, inside=inside)
        return Batch(tuple(notes), self._cursor, more)

    def _notes(self, db: sqlite3.Connection, row: Row, inside: Inside) -> Iterator[Note]:
        """The notes for an event."""
        assert self._ended is not None
        _, at, kind, body = row
        event = fact(kind, json.loads(body))
        assert isinstance(event, EpochEnded | RunChanged)
        run = self._run(db, event.run)
        if event.run not in self._ended:
            self._ended[event.run] = 0
            yield Began(run, at)
        if isinstance(event, RunChanged):
            summary = _summary(db, event.run) if event.state not in UNFINISHED else {}
            yield Changed(run, at, event.state, without_credentials(event.cause), summary)
        elif event.epoch > self._ended[event.run]:
            yield from _inside(db, run, event.epoch, inside, at)
            inside.pop(event.run, None)
            self._ended[event.run] = event.epoch
            yield Measured(run, at, event.epoch, event.step, _tagged(event.metrics))

    def _under_way(self, db: sqlite3.Connection, inside: Inside) -> Iterator[Note]:
        """The values inside epochs that have not ended."""
        for number, epoch, at in db.execute(UNDER_WAY).fetchall():
            yield from _inside(db, self._run(db, number), epoch, inside, at)

    def _run(self, db: sqlite3.Connection, number: int) -> TrackedRun:
        if number not in self._runs:
            self._runs[number] = _tracked(db, number)
        return self._runs[number]


def behind(journal: Path, cursor: Cursor) -> int:
    """The number of events that a tracker with this cursor has not logged yet."""
    if not journal.is_file():
        return 0
    with reader(journal) as db:
        return int(db.execute(BEHIND, [_valid(db, cursor).seq]).fetchone()[0]) if begun(db) else 0


def place(journal: Path, directory: Path) -> Place:
    """Where a tracker logs the experiment. Raises Refusal where nothing can be read."""
    with reader(journal) as db:
        if not begun(db):
            raise Refusal([nothing_yet(journal)])
        leaves = (json.loads(config) for (config,) in db.execute("SELECT config FROM runs"))
        return Place(directory, read_metadata(db), kinds(leaves), partial(_curves, journal))


def _curves(journal: Path, number: int) -> list[Measured]:
    """All values of the run, inside epochs and at their ends; the time of each is that of its last turn."""
    with reader(journal) as db:
        run = _tracked(db, number)
        (at,) = db.execute("SELECT ifnull(max(ended), 0) FROM turns WHERE run = ?", [number]).fetchone()
        found: list[Measured] = []
        epochs = _epochs(db, number)
        for epoch, (step, metrics) in epochs.items():
            found += _inside(db, run, epoch, {}, at)
            found.append(Measured(run, at, epoch, step, _tagged(metrics)))
        found += _inside(db, run, max(epochs, default=0) + 1, {}, at)
    return found


def _epochs(db: sqlite3.Connection, run: int) -> dict[int, tuple[int, list[Metric]]]:
    """The steps and the metrics of the run's finished epochs."""
    epochs: dict[int, tuple[int, list[Metric]]] = {}
    for epoch, step, split, name, value in db.execute(MEASURED, [run]):
        _, metrics = epochs.setdefault(epoch, (step, []))
        metrics.append(Metric(split, name, math.nan if value is None else value))
    return epochs


def _tracked(db: sqlite3.Connection, number: int) -> TrackedRun:
    *same, origin = db.execute(RUN, [number]).fetchone()
    return tracked(replace(Run(*same), origin=origin_of(origin)))


def _valid(db: sqlite3.Connection, cursor: Cursor) -> Cursor:
    """The cursor, or one at the beginning if it belongs to another journal, as after `repair`."""
    (first,) = db.execute(FIRST).fetchone() or (None,)
    return cursor if first == cursor.first else Cursor(first=first)


def _inside(
    db: sqlite3.Connection, run: TrackedRun, epoch: int, inside: Inside, at: float
) -> Iterator[Measured]:
    """The values inside an epoch since the cursor: training's values in the epoch so far, turn by turn."""
    known, last = inside.get(run.number, (epoch, 0))
    steps: dict[int, dict[str, float]] = {}
    for step, name, value in db.execute(INSIDE, [run.number, epoch, last if known == epoch else 0]):
        steps.setdefault(step, {})[f"so_far/{name}"] = math.nan if value is None else value
    for step, values in steps.items():
        inside[run.number] = (epoch, step)
        yield Measured(run, at, epoch, step, values)


def _summary(db: sqlite3.Connection, run: int) -> dict[str, float]:
    """The run's last values, and its best ones by the objective, with their epochs."""
    if not (epochs := _epochs(db, run)):
        return {}
    last, objective = max(epochs), read_metadata(db).objective
    found = {epoch: compared_value(metrics, objective.metric) for epoch, (_, metrics) in epochs.items()}
    known = {epoch: value for epoch, value in found.items() if value is not None and not math.isnan(value)}
    step, metrics = epochs[last]
    summary = {"epoch": last, "step": step, **_tagged(metrics)}
    if known:
        best = (min if objective.direction == "min" else max)(known, key=lambda epoch: known[epoch])
        summary |= {
            "best/epoch": best,
            **{f"best/{key}": value for key, value in _tagged(epochs[best][1]).items()},
        }
    return summary


def _tagged(metrics: Iterable[Metric]) -> dict[str, float]:
    return {tag(one.split, one.name): one.value for one in metrics}
