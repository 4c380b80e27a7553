"""The journal keeps facts whole and for good; it never loses a number or a value."""

import math
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from rapidfire_cli.facts import (
    EpochEnded,
    Metric,
    RunAdmitted,
    RunChanged,
    RunFailed,
    RunReplaced,
    Saved,
    TurnEnded,
    TurnStarted,
    WorkerDied,
    WorkerStarted,
)
from rapidfire_cli.store.journal import SqliteJournal
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.store.queries import overview
from rapidfire_cli.terms import OomRetry, RunState
from tests.store.sweep import METADATA, enrolled, epoch, runs

LIFE = [
    WorkerStarted(0, 4711, "cpu"),
    RunChanged(1, RunState.RUNNING),
    TurnStarted(1, 0, 1),
    epoch(1, 1, accuracy=0.9),
    Saved(1, 1, 20),
    TurnEnded(1, 0, 1, 20),
    RunChanged(1, RunState.COMPLETED),
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rapidfire_experiments" / "digits" / "journal.db"


def table(path, sql):
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def test_nothing_is_created_before_something_is_kept(path):
    SqliteJournal(path).close()
    assert not path.parent.exists()


def test_every_fact_but_a_turn_becomes_an_event_in_order(path):
    enrolled(path).record(LIFE)
    kinds = [kind for (kind,) in table(path, "SELECT kind FROM events ORDER BY seq")]
    assert kinds == ["worker_started", "run_changed", "epoch_ended", "saved", "run_changed"]


def test_a_run_is_where_its_facts_left_it(path):
    enrolled(path).record(LIFE)
    first = overview(path, alive=True).rows[0]
    assert (first.state, first.epoch, first.step) == (RunState.COMPLETED, 1, 20)
    assert first.metrics == {"train": {"loss": 0.5}, "validation": {"loss": 0.6, "top1_accuracy": 0.9}}


def test_a_turn_is_kept_with_what_it_reached(path):
    enrolled(path).record(LIFE)
    assert table(path, "SELECT run, slot, until, at, ended IS NOT NULL FROM turns") == [(1, 0, 1, 1, 1)]


def test_a_turn_that_its_controller_did_not_live_to_see_over_stays_open(path):
    journal = enrolled(path)
    journal.record([TurnStarted(1, 0, 1)])  # the controller is killed; the next one begins the turn anew
    journal.record([TurnStarted(1, 0, 1), TurnEnded(1, 0, 1, 20)])
    assert table(path, "SELECT at, ended IS NOT NULL FROM turns ORDER BY rowid") == [(None, 0), (1, 1)]


def test_turns_of_one_commit_are_told_apart(path):
    enrolled(path).record(
        [
            *(TurnStarted(1, 0, 1), TurnStarted(2, 1, 1), TurnEnded(1, 0, 1, 20), TurnStarted(1, 0, 2)),
            *(WorkerDied(1, "killed by SIGKILL"), TurnStarted(2, 1, 1), TurnEnded(1, 0, 2, 40)),
        ]
    )
    kept = table(path, "SELECT run, until, at, ended IS NOT NULL FROM turns ORDER BY rowid")
    assert kept == [(1, 1, 1, 1), (2, 1, None, 1), (1, 2, 2, 1), (2, 1, None, 0)]


def test_a_replacement_is_enrolled_before_what_happens_to_it(path):
    replacement = replace(runs(4)[3], origin=OomRetry(1))
    running = [RunChanged(4, RunState.RUNNING), epoch(4, 1, accuracy=0.9), Saved(4, 1, 20)]
    born = [RunAdmitted(replacement), RunReplaced(1, replacement)]
    enrolled(path).record([RunChanged(2, RunState.RUNNING), *born, *running])
    last = overview(path, alive=True).rows[-1]
    assert (last.number, last.state, last.epoch, last.step) == (4, RunState.RUNNING, 1, 20)


def test_a_turn_whose_worker_died_reached_nothing(path):
    enrolled(path).record([TurnStarted(2, 1, 1), WorkerDied(1, "killed by SIGKILL")])
    assert table(path, "SELECT run, at, ended IS NOT NULL FROM turns") == [(2, None, 1)]


def test_the_loss_of_an_epoch_under_way_is_known_until_a_turn_ends_with_an_epoch(path):
    journal = enrolled(path, metadata=replace(METADATA, chunks=2))
    journal.record(
        [
            TurnStarted(1, 0, 1),
            TurnEnded(1, 0, 1, 5, metrics=(Metric("train", "loss", 0.75),)),
            TurnStarted(1, 0, 2),
        ]
    )
    assert [row.partial_metrics for row in overview(path, alive=True).rows] == [{"loss": 0.75}, {}, {}]
    journal.record([epoch(1, 1, accuracy=0.9), TurnEnded(1, 0, 2, 10)])
    assert [row.partial_metrics for row in overview(path, alive=True).rows] == [{}] * 3


def test_facts_that_come_together_are_kept_all_or_none(path):
    journal = enrolled(path)
    unkeepable = EpochEnded(1, 1, 20, (Metric("train", "loss", object()),), seconds=1.0)
    with pytest.raises(TypeError):
        journal.record([RunChanged(1, RunState.RUNNING), unkeepable])
    assert overview(path, alive=True).rows[0].state is RunState.QUEUED
    journal.record([RunChanged(1, RunState.RUNNING)])
    assert overview(path, alive=True).rows[0].state is RunState.RUNNING


def test_what_is_taken_is_nobodys_until_it_is_committed(path):
    journal = enrolled(path)
    journal.take([RunChanged(1, RunState.RUNNING)])
    journal.take([RunChanged(2, RunState.RUNNING)])
    assert {row.state for row in overview(path, alive=True).rows} == {RunState.QUEUED}
    journal.commit()
    assert [row.state for row in overview(path, alive=True).rows][:2] == [RunState.RUNNING] * 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, 5e-324, 0.1 + 0.2])
def test_every_float_comes_back_as_it_was(path, value):
    enrolled(path).record([epoch(1, 1, accuracy=value)])
    kept = overview(path, alive=True).rows[0].metrics["validation"]["top1_accuracy"]
    assert kept == value or (math.isnan(kept) and math.isnan(value))


def test_an_epoch_trained_again_replaces_its_values_and_undoes_no_later_one(path):
    journal = enrolled(path)
    journal.record([epoch(1, 1, accuracy=0.7), epoch(1, 2, accuracy=0.8)])
    journal.record([epoch(1, 1, accuracy=0.7)])
    assert table(path, "SELECT count(*) FROM metrics") == [(6,)]
    assert overview(path, alive=True).rows[0].epoch == 2


def test_a_failed_run_says_why_until_it_is_tried_again(path):
    journal = enrolled(path)
    journal.record(
        [RunFailed(2, "error", "ValueError: no", 3), RunChanged(2, RunState.FAILED, "ValueError: no")]
    )
    assert overview(path, alive=True).rows[1].error == "ValueError: no"
    journal.record([RunChanged(2, RunState.RUNNING)])
    assert overview(path, alive=True).rows[1].error == ""


def test_a_known_run_keeps_what_it_reached_when_it_is_enrolled_again(path):
    journal = enrolled(path)
    journal.record(LIFE)
    journal.enroll(METADATA, runs(4), [5] * 4)
    rows = overview(path, alive=True).rows
    assert [row.state for row in rows] == [RunState.COMPLETED] + [RunState.QUEUED] * 3


def test_a_run_no_longer_asked_for_stays_out_of_sight_until_it_is_asked_for_again(path):
    journal = enrolled(path, count=3)
    journal.enroll(METADATA, runs(3)[1:], [5] * 2)
    assert [row.number for row in overview(path, alive=True).rows] == [2, 3]
    assert [row.number for row in overview(path, alive=True, unlisted=True).rows] == [1, 2, 3]
    journal.enroll(METADATA, runs(3), [5] * 3)
    assert [row.number for row in overview(path, alive=True).rows] == [1, 2, 3]


def test_standings_are_of_every_run_ever_numbered(path):
    journal = enrolled(path)
    journal.record(LIFE)
    journal.enroll(METADATA, runs(3)[1:], [5] * 2)
    stood = known_runs(path, chunks=1)
    assert [standing.run for standing in stood] == runs(3)
    assert [(standing.state, standing.durable) for standing in stood] == [
        (RunState.COMPLETED, 1),
        (RunState.QUEUED, 0),
        (RunState.QUEUED, 0),
    ]


def test_there_are_no_standings_without_a_journal(path):
    assert known_runs(path, chunks=1) == ()


def test_what_is_durable_is_counted_in_the_chunks_of_the_day(path):
    journal = enrolled(path, metadata=replace(METADATA, chunks=4))
    journal.record([Saved(1, 6, 30)])
    assert known_runs(path, chunks=2)[0].durable == 3
    journal.enroll(METADATA, runs(3), [5] * 3)
    assert known_runs(path, chunks=1)[0].durable == 1  # one epoch and a half, in whole epochs


def test_a_journal_that_was_closed_goes_on(path):
    journal = enrolled(path)
    journal.close()
    journal.record(LIFE)
    assert overview(path, alive=True).rows[0].state is RunState.COMPLETED
