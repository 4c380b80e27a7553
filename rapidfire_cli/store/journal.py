"""The journal: everything that happened to an experiment, in one SQLite file with a single writer.

Theory of operation
-------------------
The controller owns the only connection that writes, which the experiment's lock ensures. Facts come in
(`take`), and `commit` makes all that were taken durable in one transaction; the driver does so every tenth
of a second. `status`, `best`, `why` and `replay` read the file meanwhile through connections of their own,
which SQLite's write-ahead log lets them do without waiting; other file systems than this machine's have none
(`connection`).

A fact becomes rows in `writes`: the table of runs holds what each run has reached, metrics and turns have
tables of their own, and what cannot be computed from these (decisions, failures, changes of state) is kept
in `events` in the order in which it happened. From that order `why` and `replay` follow.

Invariants:

- A commit is whole or absent, and durable when it returns (`synchronous=FULL`). The user is shown only
  facts that were committed.
- A run keeps its number for ever. `enroll` says which runs the present file asks for; others stay,
  unlisted.
- The end of an epoch may be recorded twice, as an opened run reports its finished epochs again; the second
  time changes nothing.
- Checkpoints do not depend on the journal. It may be ahead of them or behind, by what happened since the
  last commit; `repair` rebuilds it from them.

Why this way: SQLite gives transactions, concurrent readers and a format that any tool can read. Committing
each fact alone cost the controller 2 to 3 ms per turn.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from rapidfire_cli.durable.failpoints import failpoint
from rapidfire_cli.facts import Fact
from rapidfire_cli.store.connection import kept, writer
from rapidfire_cli.store.metadata import Metadata, to_rows
from rapidfire_cli.store.writes import ENROLL, EVENT, LAST_TURN, ORDER, Row, Turns, row, writes
from rapidfire_cli.terms import Run

RESCALE = """
    UPDATE runs SET durable = durable * ? / (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'chunks')
    WHERE durable > 0"""


class SqliteJournal:
    """The single writer of `journal.db`; the file is created by the first write."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._taken: list[tuple[Fact, float]] = []  # and when

    @cached_property
    def _db(self) -> sqlite3.Connection:
        return writer(self._path)

    @cached_property
    def _turns(self) -> Turns:
        with kept(self._path):
            return Turns(*self._db.execute(LAST_TURN).fetchone())

    def enroll(self, metadata: Metadata, runs: Sequence[Run], epochs: Sequence[int]) -> None:
        """Record these runs, with their numbers and epochs, as the ones requested.

        Runs that the journal knows keep what they reached; those no longer asked for stay, unlisted.
        """
        with self._transaction() as db:
            db.execute(RESCALE, [metadata.chunks])
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", to_rows(metadata))
            db.execute("UPDATE runs SET listed = 0")
            db.executemany(ENROLL, (row(run, length) for run, length in zip(runs, epochs, strict=True)))

    def record(self, facts: Sequence[Fact]) -> None:
        """Store the facts, all or none; they are durable when this returns."""
        self.take(facts)
        self.commit()

    def take(self, facts: Sequence[Fact]) -> None:
        """Note the facts, as of now; the next `commit` makes all that was taken durable."""
        now = self._clock()
        self._taken += [(fact, now) for fact in facts]

    def commit(self) -> None:
        """Make the buffered facts durable, all or none."""
        taken, self._taken = self._taken, []
        if not taken:
            return
        rows: dict[str, list[Row]] = {statement: [] for statement in (*ORDER, EVENT)}
        for fact, now in taken:
            for statement, each in writes(fact, now, self._turns):
                rows[statement].append(each)
        with self._transaction() as db:
            for statement in ORDER:
                if rows[statement]:
                    db.executemany(statement, rows[statement])
            db.execute(EVENT, [json.dumps(rows[EVENT])])

    def close(self) -> None:
        """Merge the log into the file and close it; the next write opens it again.

        SQLite merges by itself only where no other process has the file open.
        """
        if "_db" in self.__dict__:
            failpoint("close", self._path)
            with kept(self._path):
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
                self._db.close()
            del self._db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a transaction; an exception rolls it back. Raises OSError when the disk refuses."""
        with kept(self._path):
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                failpoint("commit", self._path)
                self._db.execute("COMMIT")
            except BaseException:
                if "_db" in self.__dict__ and self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
