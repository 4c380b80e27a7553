"""Follow a journal: what was recorded since the last look.

Theory of operation. A feed keeps one read-only connection. `PRAGMA data_version` (3 µs) says whether anyone
has committed since the last look; if so, the rows after the last known ones are read: events by their `seq`,
turns and requests from their own tables. Between two looks no transaction is open, so a feed delays neither
the writer nor the merging of its log.

A feed begins at the end of the journal. A caller that also reads the state as a whole opens the feed first:
what is recorded in between is then in both, and is not missed. Folds over facts must accept that.
"""

import json
import math
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from rapidfire_cli.facts import Fact, RequestTaken, WorkerDied, WorkerStarted
from rapidfire_cli.problems import Refusal
from rapidfire_cli.requests import decode_answers, decode_request
from rapidfire_cli.store.connection import begun, follower, kept, nothing_yet, reader
from rapidfire_cli.store.facts import fact
from rapidfire_cli.store.metadata import read_metadata
from rapidfire_cli.store.requests_taken import Recorded

EVENTS = "SELECT seq, at, kind, body FROM events WHERE seq > ? ORDER BY seq"
REQUESTS = "SELECT rowid, at, body, answers FROM requests WHERE rowid > ? ORDER BY rowid"
TURNS = """
    SELECT rowid, run, slot, until, at, started, ended FROM turns
    WHERE rowid > ? OR rowid IN (SELECT value FROM json_each(?)) ORDER BY rowid"""
WORKERS = """
    SELECT kind, body FROM events WHERE kind IN ('worker_started', 'worker_died') AND at >= ? ORDER BY seq"""
LATEST_TURNS = """
    SELECT rowid, run, slot, until, at, started, ended FROM turns
    WHERE rowid IN (SELECT max(rowid) FROM turns GROUP BY slot) ORDER BY rowid"""
PARTIAL = """
    SELECT name, value FROM so_far WHERE run = ? AND epoch = ? AND step = (
      SELECT max(step) FROM so_far AS each WHERE each.run = so_far.run AND each.epoch = so_far.epoch)"""

BEFORE = -1  # differs from every `data_version`, so that the first look reads


class Replaced(Exception):  # noqa: N818 - what became of the journal
    """The journal was removed or replaced by another one: read everything again."""


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """A fact, its place in the journal, and when it was recorded, in seconds since the epoch."""

    seq: int
    at: float
    fact: Fact


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of a run on a slot; ticks, and seconds since the epoch."""

    run: int
    slot: int
    until: int
    at: int | None  # reached; None while it lasts, or if its worker died
    started: float
    ended: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)  # of training in the epoch under way, by name


@dataclass(frozen=True, slots=True)
class News:
    """What was recorded between two looks, in order; a turn is listed when it begins and when it ends."""

    events: tuple[JournalEvent, ...]
    turns: tuple[Turn, ...]
    requests: tuple[Recorded, ...]


class Feed:
    """Follows one journal. Any thread may use it, one at a time."""

    def __init__(self, journal: Path, after: int | None = None) -> None:
        """Begin at the end of the journal, or after the event with the `seq` that `after` gives.

        Raises Refusal if the journal is empty, damaged or of a newer version, FileNotFoundError if it is
        missing, and OSError if it cannot be read.
        """
        self._path = journal
        self._db = follower(journal)
        try:
            with self._reading() as db:
                if not begun(db):
                    raise Refusal([nothing_yet(journal)])
                self._file, self._schema = _identity(journal), _pragma(db, "user_version")
                self._version = _pragma(db, "data_version") if after is None else BEFORE
                self._chunks = read_metadata(db).chunks
                self._seq = _last(db, "events", "seq") if after is None else after
                self._request = _last(db, "requests", "rowid")
                self._turn = _last(db, "turns", "rowid")
                latest = [*db.execute(LATEST_TURNS)]
                self._open = {slot: row for row, _, slot, *_, ended in latest if ended is None}
        except BaseException:
            self._db.close()
            raise

    @property
    def seq(self) -> int:
        """The `seq` of the last event that was read."""
        return self._seq

    def look(self) -> News | None:
        """What was recorded since the last look; None if nothing was committed.

        Raises Replaced, Refusal if the journal is damaged, and OSError if it cannot be read; after any of
        these, open another feed and read everything again.
        """
        if _identity(self._path) != self._file:
            raise Replaced
        with kept(self._path):
            version = _pragma(self._db, "data_version")
        if version == self._version:
            return None
        with self._reading() as db:
            if _pragma(db, "user_version") != self._schema:
                raise Replaced
            self._version = _pragma(db, "data_version")
            self._chunks = read_metadata(db).chunks
            return News(
                tuple(self._events(db)),
                tuple(self._turns(db)),
                tuple(self._requests(db)),
            )

    def close(self) -> None:
        """Close the connection."""
        with suppress(sqlite3.Error):
            self._db.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all reads in it see one state of the journal."""
        with kept(self._path):
            self._db.execute("BEGIN")
            try:
                yield self._db
            finally:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")

    def _events(self, db: sqlite3.Connection) -> Iterator[JournalEvent]:
        for seq, at, kind, body in db.execute(EVENTS, [self._seq]).fetchall():
            self._seq = seq
            yield JournalEvent(seq, at, fact(kind, json.loads(body)))

    def _requests(self, db: sqlite3.Connection) -> Iterator[Recorded]:
        for row, at, body, answers in db.execute(REQUESTS, [self._request]).fetchall():
            self._request = row
            taken = RequestTaken(decode_request(body), decode_answers(json.loads(answers)))
            yield Recorded(at, taken)

    def _turns(self, db: sqlite3.Connection) -> Iterator[Turn]:
        """The turns that began since the last look, and those that ended since."""
        known = self._turn
        for row, run, slot, until, at, started, ended in db.execute(
            TURNS, [known, json.dumps([*self._open.values()])]
        ).fetchall():
            self._turn = max(self._turn, row)
            if ended is None:
                if self._open.get(slot) == row:
                    continue
                self._open[slot] = row
            elif self._open.get(slot) == row:
                del self._open[slot]
            yield Turn(run, slot, until, at, started, ended, self._partial(db, run, at))

    def _partial(self, db: sqlite3.Connection, run: int, at: int | None) -> dict[str, float]:
        if at is None or at % self._chunks == 0:
            return {}
        rows = db.execute(PARTIAL, [run, 1 + at // self._chunks])
        return {name: math.nan if value is None else value for name, value in rows}


def latest_turns(journal: Path) -> tuple[Turn, ...]:
    """The last turn on each slot, in order. Raises Refusal where nothing can be read."""
    with reader(journal) as db:
        return tuple(Turn(*row) for _, *row in db.execute(LATEST_TURNS))


def workers(journal: Path, since: float) -> tuple[WorkerStarted | WorkerDied, ...]:
    """The starts and deaths of workers since this time, in order. Raises Refusal if nothing can be read."""
    with reader(journal) as db:
        found = [fact(kind, json.loads(body)) for kind, body in db.execute(WORKERS, [since])]
    return tuple(cast("WorkerStarted | WorkerDied", each) for each in found)


def _identity(path: Path) -> tuple[int, int] | None:
    """The device and inode of the file; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - asked for five times a second
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _pragma(db: sqlite3.Connection, name: str) -> int:
    value: int = db.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _last(db: sqlite3.Connection, table: str, column: str) -> int:
    value: int = db.execute(f"SELECT ifnull(max({column}), 0) FROM {table}").fetchone()[0]
    return value
