"""Anybody may look at a journal, at any time, and changes nothing by it."""

import json
import math
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from rapidfire_cli.facts import BracketBegun, RunAdmitted, RunChanged, RunReplaced
from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.connection import reader, writer
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.store.queries import experiment_state, overview
from rapidfire_cli.store.ranking import ranking
from rapidfire_cli.terms import Objective, OomRetry, RunState
from tests.store.sweep import METADATA, enrolled, epoch, row, runs


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


def codes(refused):
    return [problem.code for problem in refused.value.problems]


def test_a_reader_sees_the_last_commit_while_the_writer_is_in_a_transaction(path):
    enrolled(path).close()
    db = writer(path)
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE runs SET state = 'failed'")
    assert {row.state for row in overview(path, alive=True).rows} == {RunState.QUEUED}
    db.execute("COMMIT")
    assert {row.state for row in overview(path, alive=True).rows} == {RunState.FAILED}


def test_a_writer_writes_while_a_reader_reads_one_unchanging_state(path):
    journal = enrolled(path)
    with reader(path) as db:
        before = db.execute("SELECT state FROM runs").fetchall()
        journal.record([RunChanged(1, RunState.RUNNING)])
        assert db.execute("SELECT state FROM runs").fetchall() == before


def test_a_reader_cannot_write(path):
    enrolled(path)
    with reader(path) as db, pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM runs")


def test_a_directory_that_may_only_be_read_can_be_read(tmp_path):
    """As another user where the tests run as root, for whom no directory is read-only."""
    for parent in tmp_path.parents:
        if parent.owner() == tmp_path.owner() and parent.stat().st_mode & 0o7 == 0:
            parent.chmod(0o755)
    enrolled(tmp_path / "journal.db").close()
    tmp_path.chmod(0o555)
    child = os.fork()
    if child == 0:
        seen = 0
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            seen = len(overview(tmp_path / "journal.db", alive=False).rows)
        finally:
            os._exit(seen)
    _, status = os.waitpid(child, 0)
    tmp_path.chmod(0o755)
    assert os.waitstatus_to_exitcode(status) == 3


def test_a_journal_of_a_newer_schema_is_refused_by_all(path):
    enrolled(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    for use in (lambda: overview(path, False), lambda: known_runs(path, 1), lambda: enrolled(path)):
        with pytest.raises(Refusal) as refused:
            use()
        assert codes(refused) == ["E603"]


def test_a_file_that_is_no_journal_is_refused(path):
    path.write_text("not a database, and long enough for SQLite to see that" * 9)
    for use in (lambda: overview(path, False), lambda: enrolled(path)):
        with pytest.raises(Refusal) as refused:
            use()
        assert codes(refused) == ["E604"]


def test_a_journal_is_lost_only_where_runs_have_left_something(path):
    with pytest.raises(Refusal) as refused:
        overview(path, alive=False)
    assert codes(refused) == ["E602"]
    (path.parent / "runs/1-0b5a2d7c4e9f1386").mkdir(parents=True)
    with pytest.raises(Refusal) as refused:
        overview(path, alive=False)
    assert codes(refused) == ["E607"]


@pytest.mark.parametrize("born", [Path.touch, lambda path: writer(path).close()], ids=["file", "tables"])
def test_a_journal_whose_writer_was_killed_at_birth_holds_nothing(path, born):
    born(path)
    assert known_runs(path, chunks=1) == ()
    with pytest.raises(Refusal) as refused:
        overview(path, alive=True)
    assert codes(refused) == ["E602"]


def test_a_run_does_not_run_where_nobody_holds_the_experiment(path):
    enrolled(path).record([RunChanged(1, RunState.RUNNING)])
    assert overview(path, alive=True).rows[0].state is RunState.RUNNING
    assert overview(path, alive=False).rows[0].state is RunState.INTERRUPTED


def test_what_is_about_the_experiment_needs_no_file(path):
    enrolled(path)
    assert overview(path, alive=False).metadata == METADATA


def test_a_runs_best_epoch_is_the_first_of_equal_ones_and_never_nan(path):
    journal = enrolled(path)
    journal.record([epoch(1, at, value) for at, value in enumerate([0.1, 0.9, 0.5, 0.9, math.nan], 1)])
    journal.record([epoch(2, 1, math.nan), epoch(3, 1, 0.3, loss=0.2), epoch(3, 2, 0.2, loss=0.1)])
    first, second, third = (seen.best for seen in overview(path, alive=False).rows)
    assert first and (first.epoch, first.value) == (2, 0.9) and second is None
    assert third and third.metrics["validation"] == {"loss": pytest.approx(0.3), "top1_accuracy": 0.3}
    by_loss = overview(path, alive=False, choose=lambda usual: Objective("loss", "min")).rows[2].best
    assert by_loss and (by_loss.epoch, by_loss.value) == (2, pytest.approx(0.2))


def test_the_best_epoch_of_a_run_that_is_no_longer_listed_is_told_where_that_is_asked_for(path):
    journal = enrolled(path)
    journal.record([epoch(1, 1, 0.5), epoch(2, 1, 0.6)])
    journal.enroll(METADATA, runs(1), [5])
    assert [seen.best and seen.best.value for seen in overview(path, alive=False).rows] == [0.5]
    everything = overview(path, alive=False, unlisted=True).rows
    assert [seen.best and seen.best.value for seen in everything] == [0.5, 0.6, None]


def test_the_config_is_the_runs_leaf(path):
    enrolled(path)
    assert overview(path, alive=False).rows[1].config == runs(2)[1].leaf


@pytest.mark.parametrize(
    ("states", "alive", "whole"),
    [
        ("completed completed", True, "running"),
        ("completed queued failed", False, "interrupted"),
        ("completed interrupted", False, "interrupted"),
        ("completed stopped", False, "completed"),
        ("failed stopped", False, "failed"),
        ("stopped stopped", False, "stopped"),
        ("completed failed pruned", False, "failed"),
        ("completed pruned deleted", False, "completed"),
    ],
)
def test_an_experiment_is_as_its_runs_are(states, alive, whole):
    rows = [row(number, state=RunState(state)) for number, state in enumerate(states.split(), 1)]
    assert experiment_state(rows, alive) == whole


def before_origins(path):
    """A journal as the first version kept it."""
    enrolled(path).close()
    with closing(sqlite3.connect(path)) as db:
        for column in ("origin", "former", "warm_start"):
            db.execute(f"ALTER TABLE runs DROP COLUMN {column}")
        db.executescript("DROP TABLE requests; PRAGMA user_version = 1")


def test_a_journal_of_an_older_schema_is_read_as_it_is(path):
    before_origins(path)
    bytes_before = path.read_bytes()
    assert [(seen.number, seen.origin) for seen in overview(path, False).rows] == [
        (1, None),
        (2, None),
        (3, None),
    ]
    assert [one.run.number for one in known_runs(path, 1)] == [1, 2, 3]
    assert path.read_bytes() == bytes_before


def test_a_journal_of_an_older_schema_is_brought_up_to_date_by_its_writer(path):
    before_origins(path)
    journal = enrolled(path, 3)
    by = replace(runs(4)[-1], origin=OomRetry(2, apart=True))
    journal.record([BracketBegun(1, "{}", (1, 2), (5, 5)), RunAdmitted(by), RunReplaced(2, by, 1)])
    journal.close()
    *_, seen = overview(path, False).rows
    assert (seen.number, seen.origin, seen.epochs) == (4, OomRetry(2, apart=True), 5)
    assert {one.run.number: one.bracket for one in known_runs(path, 1)} == {1: 1, 2: 1, 3: None, 4: None}


def before_interruptions(path):
    """A journal as the second version kept it: what was interrupted was called `stopped`."""
    journal = enrolled(path)
    journal.record([RunChanged(1, RunState.STOPPED), RunChanged(2, RunState.COMPLETED)])
    journal.close()
    with closing(sqlite3.connect(path)) as db:
        for column in ("former", "warm_start"):
            db.execute(f"ALTER TABLE runs DROP COLUMN {column}")
        db.executescript("DROP TABLE requests; PRAGMA user_version = 2")


def test_a_run_that_an_older_journal_calls_stopped_was_interrupted(path):
    before_interruptions(path)
    for _ in range(2):  # as readers see it, then as its writer has changed it
        states = [RunState.INTERRUPTED, RunState.COMPLETED, RunState.QUEUED]
        assert [seen.state for seen in overview(path, alive=False).rows] == states
        assert [one.state for one in known_runs(path, 1)] == states
        enrolled(path).close()
    with closing(sqlite3.connect(path)) as db:
        told = [json.loads(body)["state"] for (body,) in db.execute("SELECT body FROM events")]
        assert (told, *db.execute("PRAGMA user_version")) == (["interrupted", "completed"], (4,))


def test_a_run_that_is_not_wanted_stays_stopped(path):
    journal = enrolled(path)
    journal.record([RunChanged(1, RunState.STOPPED)])
    journal.close()
    enrolled(path).close()
    assert overview(path, alive=False).rows[0].state is RunState.STOPPED


def test_a_replacement_takes_its_originals_bracket_unless_it_trains_apart(path):
    journal = enrolled(path, 3)
    by = replace(runs(4)[-1], origin=OomRetry(2))
    journal.record([BracketBegun(1, "{}", (1, 2), (5, 5)), RunAdmitted(by), RunReplaced(2, by, 1)])
    assert {one.run.number: one.bracket for one in known_runs(path, 1)} == {1: 1, 2: None, 3: None, 4: 1}
    assert known_runs(path, 1)[-1].run == by


def test_what_became_of_a_replaced_run_is_told_by_the_one_in_its_place():
    rows = [row(1), row(2, state=RunState.FAILED), row(3, origin=OomRetry(2))]
    assert experiment_state(rows, alive=False) is RunState.COMPLETED
    assert [place.row.number for place in ranking(rows, METADATA.objective)] == [1, 3]
