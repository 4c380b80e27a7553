"""Whole curves of many runs, as charts read them; and some runs read without the others."""

import math

from rapidfire_cli.store.queries import overview
from rapidfire_cli.store.series import packed, packed_times
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
