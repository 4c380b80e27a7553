"""Ways to open `journal.db`: one that writes, many that only read.

Theory of operation. On a file system of this machine, the journal has a write-ahead log: readers and the
writer never wait for each other. The log's index is memory that their processes share, which the processes of
two machines cannot. So on any other file system, the journal has a rollback journal: there, readers and the
writer depend on nothing but locks, as fits do for the experiment's lock. A commit waits until no reader is
in the middle of a transaction, and readers wait for a commit.

The rollback journal is truncated at a commit and not deleted, because a machine may believe for a while that
a file on another one is absent, but looks at it when it opens it. After a writer was killed in a commit, the
next reader rolls that back, for which it must be allowed to write.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from rapidfire_cli.durable import disk
from rapidfire_cli.durable.failpoints import failpoint
from rapidfire_cli.durable.file_systems import is_local, kind_of
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.store.layout import ExperimentDir

VERSION = 4  # of schema.sql
UPGRADES = {
    1: "ALTER TABLE runs ADD COLUMN origin TEXT",
    2: """
        UPDATE runs SET state = 'interrupted' WHERE state = 'stopped';
        UPDATE events SET body = json_replace(body, '$.state', 'interrupted')
        WHERE kind = 'run_changed' AND json_extract(body, '$.state') = 'stopped'""",
    3: """
        CREATE TABLE requests (
          id TEXT PRIMARY KEY, at REAL NOT NULL, body TEXT NOT NULL, answers TEXT NOT NULL);
        ALTER TABLE runs ADD COLUMN former TEXT;
        ALTER TABLE runs ADD COLUMN warm_start TEXT""",
}
"""What makes a journal of a version one of the next. In version 2 only interrupted runs were `stopped`."""

_COLUMNS = """
    number, id, "group", config, seed, replicate, epochs, bracket, listed, epoch, step, durable, cause, code,
    data, environment, NULL AS former, NULL AS warm_start"""
_INTERRUPTED = "CASE state WHEN 'stopped' THEN 'interrupted' ELSE state END AS state"
_REQUESTS = "CREATE TEMP TABLE requests (id TEXT, at REAL, body TEXT, answers TEXT)"
READ_AS = {
    version: f"CREATE TEMP VIEW runs AS SELECT {_COLUMNS}, {state}, {origin} FROM main.runs; {_REQUESTS}"
    for version, state, origin in (
        (1, _INTERRUPTED, "NULL AS origin"),
        (2, _INTERRUPTED, "origin"),
        (3, "state", "origin"),
    )
}
"""What lets readers, who may not write, see a journal of a version as one of today."""

REPAIR = "use `rapidfire repair` to rebuild it from the checkpoints; existing files are kept"
SUFFIXES = ("", "-wal", "-shm", "-journal")  # of the files that are the journal
PATIENCE = 60.0  # seconds to wait for the locks of others (assumed; a read takes milliseconds)


def writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes; makes the file and its directory where they are missing.

    Raises Refusal when the file is no journal, or a newer one than this program knows, and OSError.
    """
    disk.make_directory(path.parent)
    disk.refuse_links(*(path.with_name(f"{path.name}{suffix}") for suffix in SUFFIXES))
    failpoint("connect", path)
    with kept(path):
        db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    try:
        with kept(path):
            db.execute(f"PRAGMA journal_mode = {'WAL' if is_local(kind_of(path.parent)) else 'TRUNCATE'}")
            db.execute("PRAGMA synchronous = FULL")
            _check_version(db, path)
            if not _version(db):
                from importlib import resources

                failpoint("commit", path)
                db.executescript(resources.files(__package__).joinpath("schema.sql").read_text("utf-8"))
            elif _version(db) < VERSION:
                failpoint("commit", path)
                _upgrade(db)
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def reader(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection that sees one unchanging state, also while the writer writes.

    Raises Refusal when there is nothing to read.
    """
    if not path.exists():
        lost = any(
            ExperimentDir(path.parent).runs.glob("*")
        )  # else a `fit` was refused, or is just beginning
        raise Refusal([Problem("E607", f"{path} is missing", hint=REPAIR) if lost else nothing_yet(path)])
    with readable(path), closing(_opened_to_read(path)) as db:
        _read_as_of_today(db, path)
        db.execute("BEGIN")
        yield db


def follower(path: Path) -> sqlite3.Connection:
    """A read-only connection to keep; it sees every commit, and any one thread at a time may use it.

    Raises Refusal as `reader` does, and FileNotFoundError without a journal.
    """
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    with readable(path):
        db = _opened_to_read(path, check_same_thread=False)
        try:
            _read_as_of_today(db, path)
        except BaseException:
            db.close()
            raise
    return db


def slowly(db: sqlite3.Connection, query: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
    """The rows, for a caller that may take long over each, as where a person reads them.

    Where that would keep a writer waiting, they are all read first, and the transaction ends.
    """
    rows = db.execute(query, values)
    if db.execute("PRAGMA journal_mode").fetchone() == ("wal",):
        yield from rows
        return
    found = rows.fetchall()
    db.execute("ROLLBACK")
    yield from found


def begun(db: sqlite3.Connection) -> bool:
    """Whether anything is recorded: a writer that is killed at birth leaves no tables, or empty ones."""
    return _version(db) > 0 and db.execute("SELECT 1 FROM meta LIMIT 1").fetchone() is not None


def nothing_yet(path: Path) -> Problem:
    """The problem that readers get before a run has begun."""
    return Problem("E602", f"nothing recorded in {path.parent} yet", hint="start with `rapidfire fit FILE`")


def _opened_to_read(path: Path, check_same_thread: bool = True) -> sqlite3.Connection:
    """Open read-only; where SQLite cannot create its shared memory, treat the file as immutable.

    Raises sqlite3.OperationalError where that would show half a commit.
    """
    address = path.absolute().as_uri()

    def opened(how: str) -> sqlite3.Connection:
        db = sqlite3.connect(
            f"{address}?{how}",
            timeout=PATIENCE,
            uri=True,
            isolation_level=None,
            check_same_thread=check_same_thread,
        )
        try:
            db.execute("PRAGMA schema_version")  # the first thing that reads
        except BaseException:
            db.close()
            raise
        return db

    try:
        return opened("mode=ro")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise
        if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
            return opened("immutable=1")
    opened("mode=rw").close()  # rolls the commit of a killed writer back
    return opened("mode=ro")


def _read_as_of_today(db: sqlite3.Connection, path: Path) -> None:
    """See a journal of an earlier version as one of today. Raises Refusal for a later one."""
    _check_version(db, path)
    if sql := READ_AS.get(_version(db)):
        db.execute("PRAGMA temp_store = MEMORY")
        db.executescript(sql)


@contextmanager
def kept(path: Path) -> Iterator[None]:
    """Raises OSError, with its place, where the disk refuses, and Refusal where the file is damaged."""
    try:
        with readable(path):
            yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # a wrong statement would be a bug of ours
            raise
        number = errno.ENOSPC if error.sqlite_errorcode == sqlite3.SQLITE_FULL else errno.EIO
        raise OSError(number, str(error), str(path)) from error


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raises Refusal where the file is damaged."""
    try:
        yield
    except sqlite3.OperationalError:  # the disk or permissions, not the file
        raise
    except sqlite3.DatabaseError as error:
        raise Refusal([Problem("E604", f"{path} is damaged", found=str(error), hint=REPAIR)]) from error


def _upgrade(db: sqlite3.Connection) -> None:
    steps = "".join(f"{UPGRADES[version]};" for version in range(_version(db), VERSION))
    db.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {VERSION}; COMMIT;")


def _version(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def _check_version(db: sqlite3.Connection, path: Path) -> None:
    version = _version(db)
    if version > VERSION:
        message = f"{path} was written by a newer version of rapidfire"
        found, expected = f"schema version {version}", f"at most {VERSION}"
        raise Refusal(
            [Problem("E603", message, found=found, expected=expected, hint="upgrade rapidfire-cli")]
        )
