"""A journal on a file system that other machines may have mounted: no memory is shared, only locks."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from rapidfire_cli.facts import RunChanged
from rapidfire_cli.store import connection
from rapidfire_cli.store.connection import SUFFIXES, reader, writer
from rapidfire_cli.store.event_log import events
from rapidfire_cli.store.feed import Feed
from rapidfire_cli.store.queries import overview
from rapidfire_cli.store.series import points
from rapidfire_cli.terms import RunState
from tests.store.sweep import enrolled, epoch

KILLED = """
import os, signal, sys
from pathlib import Path
from rapidfire_cli.store import connection
connection.kind_of = lambda place: "nfs4"
db = connection.writer(Path(sys.argv[1]))
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE runs SET state = 'failed', config = hex(randomblob(5000))")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "kind_of", lambda place: "nfs4")
    monkeypatch.setattr(connection, "PATIENCE", 0.5)
    return tmp_path / "journal.db"


def mode(path) -> str:
    with closing(sqlite3.connect(path)) as db:
        return str(db.execute("PRAGMA journal_mode").fetchone()[0])


def files(path) -> set[str]:
    return {suffix for suffix in SUFFIXES if path.with_name(f"{path.name}{suffix}").exists()}


def test_it_has_no_write_ahead_log_and_is_durable_at_each_commit(path):
    journal = enrolled(path)
    journal.record([epoch(1, 1, accuracy=0.5)])
    assert files(path) == {"", "-journal"}
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    assert overview(copy, alive=False).rows[0].epoch == 1


def test_a_journal_that_was_moved_there_or_back_is_converted(path, monkeypatch):
    for kind, kept in (("ext4", "wal"), ("nfs4", "delete"), ("ext4", "wal")):
        monkeypatch.setattr(connection, "kind_of", lambda place, kind=kind: kind)
        journal = enrolled(path)
        journal.record([epoch(1, 1, accuracy=0.5)])
        journal.close()
        assert (
            mode(path) == kept
        )  # only the write-ahead log is a mode of the file; the others are of a connection
    assert overview(path, alive=False).rows[0].epoch == 1


def test_a_commit_waits_for_no_reader_that_a_person_reads(path):
    journal = enrolled(path)
    journal.record([epoch(1, 1, accuracy=0.5), RunChanged(1, RunState.RUNNING)])
    reading = events(path), points(path)
    for each in reading:
        next(each)
    feed = Feed(path)
    journal.record([RunChanged(2, RunState.RUNNING)])
    assert [each.fact.run for each in feed.look().events] == [2]
    assert all([*each] for each in reading)
    feed.close()


def test_a_commit_that_a_reader_keeps_waiting_for_long_is_an_error_and_whole_or_absent(path):
    journal = enrolled(path)
    with reader(path) as db:
        db.execute("SELECT * FROM runs").fetchone()
        with pytest.raises(OSError, match="database is locked"):
            journal.record([RunChanged(1, RunState.RUNNING)])
    assert {row.state for row in overview(path, alive=True).rows} == {RunState.QUEUED}
    journal.record([RunChanged(1, RunState.RUNNING)])
    assert overview(path, alive=True).rows[0].state is RunState.RUNNING


def test_a_reader_that_meets_a_commit_waits_and_never_sees_half_of_it(path):
    enrolled(path, 40).close()
    db = writer(path)
    db.execute("PRAGMA cache_size = 1")
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE runs SET state = 'failed', config = hex(randomblob(5000))")  # more than it keeps
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        overview(path, alive=True)
    db.execute("ROLLBACK")
    assert {row.state for row in overview(path, alive=True).rows} == {RunState.QUEUED}


def test_the_next_reader_rolls_back_what_a_killed_writer_was_in_the_middle_of(path):
    enrolled(path, 40).close()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.with_name("journal.db-journal").stat().st_size > 0
    assert {row.state for row in overview(path, alive=False).rows} == {RunState.QUEUED}
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
