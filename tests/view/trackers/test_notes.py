"""The journal becomes notes for trackers, from a cursor on."""

import math
from dataclasses import replace

import pytest

from rapidfire_cli.facts import Metric, RunAdmitted, RunChanged, TurnEnded, TurnStarted
from rapidfire_cli.store.journal import SqliteJournal
from rapidfire_cli.terms import Clone, Run, RunState, canonical
from rapidfire_cli.view.trackers.notes import Cursor, NoteReader, behind, place
from rapidfire_cli.view.trackers.tracker import Began, Changed, Measured, kinds
from tests.store.sweep import METADATA, enrolled, epoch, leaf, runs


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


def test_a_run_begins_measures_and_ends(path):
    journal = enrolled(path)
    journal.record([RunChanged(2, RunState.RUNNING), epoch(2, 1, 0.5), epoch(2, 2, 0.9), epoch(2, 3, 0.8)])
    journal.record([RunChanged(2, RunState.COMPLETED)])
    began, running, *measured, over = NoteReader(path, Cursor()).read().notes
    assert isinstance(began, Began)
    assert began.run.name == "run-002"
    assert began.run.facts == {
        "number": 2,
        "id": f"{2:016x}",
        "group": 1,
        "seed": 42,
        "replicate": 0,
        "parent": None,
    }
    assert began.run.knobs["train.optimizer.args.lr"] == 1e-4
    assert isinstance(running, Changed)
    assert (running.state, running.summary) == (RunState.RUNNING, {})
    assert [(note.epoch, note.step) for note in measured if isinstance(note, Measured)] == [
        (1, 20),
        (2, 40),
        (3, 60),
    ]
    assert measured[0].values == {"train/loss": 0.5, "val/loss": 0.6, "val/top1_accuracy": 0.5}
    assert isinstance(over, Changed)
    assert over.summary["epoch"] == 3
    assert over.summary["val/top1_accuracy"] == 0.8
    assert (over.summary["best/epoch"], over.summary["best/val/top1_accuracy"]) == (2, 0.9)


def test_a_cursor_continues_where_it_was(path):
    journal = enrolled(path)
    journal.record([RunChanged(1, RunState.RUNNING), epoch(1, 1, 0.5)])
    first = NoteReader(path, Cursor()).read()
    assert behind(path, first.cursor) == 0
    journal.record([epoch(1, 2, 0.6), RunChanged(1, RunState.COMPLETED)])
    assert behind(path, first.cursor) == 2
    assert behind(path, Cursor()) == 4
    again = NoteReader(path, first.cursor).read()
    assert [type(note) for note in again.notes] == [Measured, Changed]
    assert NoteReader(path, again.cursor).read().notes == ()


def test_an_epoch_that_is_recorded_twice_becomes_one_note(path):
    """An opened run reports its finished epochs again."""
    journal = enrolled(path)
    journal.record([epoch(1, 1, 0.5), epoch(1, 1, 0.5), epoch(1, 2, 0.6)])
    first = NoteReader(path, Cursor())
    assert sum(isinstance(note, Measured) for note in first.read().notes) == 2
    journal.record([epoch(1, 1, 0.5), epoch(1, 2, 0.6), epoch(1, 3, 0.7)])
    later = first.read()
    assert [note.epoch for note in later.notes if isinstance(note, Measured)] == [3]
    assert NoteReader(path, later.cursor).read().notes == ()


def turn(at: int, step: int, loss: float | None = None) -> list[TurnStarted | TurnEnded]:
    metrics = () if loss is None else (Metric("train", "loss", loss),)
    return [TurnStarted(1, 0, at), TurnEnded(1, 0, at, step, metrics)]


def test_values_inside_an_epoch_are_read_once_at_each_turn(path):
    journal = enrolled(path, metadata=replace(METADATA, chunks=4))
    journal.record([RunChanged(1, RunState.RUNNING), *turn(1, 5, 2.0), *turn(2, 10, math.nan)])
    reader = NoteReader(path, Cursor())
    first = reader.read()
    inside = [note for note in first.notes if isinstance(note, Measured)]
    assert [(note.epoch, note.step, note.at) for note in inside] == [(1, 5, 1.7e9), (1, 10, 1.7e9)]
    assert inside[0].values == {"so_far/loss": 2.0}
    assert math.isnan(inside[1].values["so_far/loss"])
    assert reader.read().notes == ()
    assert NoteReader(path, first.cursor).read().notes == ()
    journal.record([*turn(3, 15, 1.5), epoch(1, 1, 0.5), *turn(4, 20), *turn(5, 25, 1.4)])
    later = [
        (note.epoch, note.step, next(iter(note.values)))
        for note in NoteReader(path, first.cursor).read().notes
    ]
    assert later == [(1, 15, "so_far/loss"), (1, 20, "train/loss"), (2, 25, "so_far/loss")]
    whole = place(path, path.parent).curves(1)
    assert [(note.epoch, note.step) for note in whole] == [(1, 5), (1, 10), (1, 15), (1, 20), (2, 25)]
    assert whole[-2].values == {"train/loss": 0.5, "val/loss": 0.6, "val/top1_accuracy": 0.5}


def test_a_journal_that_was_made_again_is_read_from_its_beginning(path):
    journal = enrolled(path)
    journal.record([RunChanged(1, RunState.RUNNING), epoch(1, 1, 0.5), epoch(1, 2, 0.6)])
    journal.close()
    cursor = NoteReader(path, Cursor()).read().cursor
    path.unlink()
    again = SqliteJournal(path, clock=lambda: 1.8e9)
    again.enroll(METADATA, runs(3), [5] * 3)
    again.record([epoch(1, 1, 0.5), epoch(1, 2, 0.6), epoch(1, 3, 0.7), epoch(1, 4, 0.8)])
    assert behind(path, cursor) == 4
    later = NoteReader(path, cursor).read()
    assert [note.epoch for note in later.notes if isinstance(note, Measured)] == [1, 2, 3, 4]
    assert NoteReader(path, later.cursor).read().notes == ()


def test_a_clone_has_a_parent(path):
    journal = enrolled(path)
    clone = Run(9, f"{9:016x}", 1, canonical(leaf(1)), 7, origin=Clone(3))
    journal.record([RunAdmitted(clone), RunChanged(9, RunState.RUNNING)])
    began = NoteReader(path, Cursor()).read().notes[0]
    assert (began.run.number, began.run.parent, began.run.seed) == (9, 3, 7)


def test_a_long_journal_is_read_in_batches(path):
    journal = enrolled(path, count=2)
    journal.record([epoch(1, number, 0.5) for number in range(1, 1501)])
    reader, notes, more = NoteReader(path, Cursor()), [], True
    while more:
        batch = reader.read()
        notes += batch.notes
        more = batch.more
    assert [note.epoch for note in notes if isinstance(note, Measured)] == [*range(1, 1501)]


def test_a_tracker_knows_all_knobs_and_what_their_values_are(path):
    enrolled(path)
    found = place(path, path.parent)
    assert found.objective == "val/top1_accuracy"
    assert found.knobs["train.optimizer.name"] is str
    assert found.knobs["train.batch_size"] is float
    assert found.curves(1) == []
    assert kinds([{"a": True, "b": None, "c": 1}, {"a": False, "b": 0.5, "c": "x"}]) == {
        "a": bool,
        "b": float,
        "c": str,
    }
