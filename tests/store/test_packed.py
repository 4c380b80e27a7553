"""Whole curves of many runs, as charts read them; and some runs read without the others."""

import math

from rapidfire_cli.facts import Metric, TurnEnded, TurnStarted
from rapidfire_cli.store import series
from rapidfire_cli.store.queries import overview
from rapidfire_cli.store.series import UNDER_WAY, packed, packed_times
from tests.store.sweep import enrolled, epoch


def test_some_runs_are_read_without_the_others(tmp_path):
    journal = enrolled(tmp_path / "journal.db", 3)
    journal.record([epoch(1, 1, 0.7), epoch(2, 1, 0.8), epoch(2, 2, 0.6), epoch(3, 1, 0.9)])
    whole = overview(tmp_path / "journal.db", alive=True)
    some = overview(tmp_path / "journal.db", alive=True, only=[2, 3])
    assert some.rows == whole.rows[1:]
    assert some.rows[0].best
    assert some.rows[0].best.value == 0.8
    journal.close()


def test_curves_are_packed_run_by_run(tmp_path):
    journal = enrolled(tmp_path / "journal.db", 3)
    journal.record([epoch(3, 1, 0.5), epoch(1, 1, 0.25), epoch(1, 2, math.nan), epoch(1, 2, math.nan)])
    found = packed(tmp_path / "journal.db", "validation", "top1_accuracy")
    assert ([*found.runs], [*found.counts]) == ([1, 3], [2, 1])
    assert ([*found.epochs], [*found.steps]) == ([1, 2, 1], [20, 40, 20])
    assert [found.values[0], found.values[2]] == [0.25, 0.5]
    assert math.isnan(found.values[1])
    assert len(found.encoded()) == 4 * (2 + 2 + 2 + 3 * 3)
    assert [*packed_times(tmp_path / "journal.db").values] == [1.0, 2.0, 1.0]
    assert packed(tmp_path / "journal.db", "test", "loss").encoded() == bytes(8)
    journal.close()


def test_values_inside_of_epochs_are_packed_as_such_unless_they_are_too_many(tmp_path, monkeypatch):
    journal = enrolled(tmp_path / "journal.db", 2)
    turns = [(1, 10, 0.9), (1, 5, 0.8), (2, 10, 0.7)]
    journal.record(
        [
            fact
            for run, step, loss in turns
            for fact in (TurnStarted(run, 0, 0), TurnEnded(run, 0, 0, step, (Metric("train", "loss", loss),)))
        ]
    )
    journal.record([epoch(1, 1, 0.5)])
    found = packed(tmp_path / "journal.db", "train", "loss")
    inside = 1 + UNDER_WAY
    ends = [step for epoch_, step in zip(found.epochs, found.steps, strict=True) if epoch_ < UNDER_WAY]
    assert [*found.runs] == [1, 2] and [*found.counts] == [2 + len(ends), 1]
    assert [*found.epochs][:2] == [inside, inside] and [*found.steps][:2] == [5, 10]
    monkeypatch.setattr(series, "MOST_INSIDE", 2)
    assert len(packed(tmp_path / "journal.db", "train", "loss").values) == len(ends)
    journal.close()
