"""Where the points of curves are: over the epochs that were trained, wherever they were trained."""

import math

from rapidfire_cli.facts import RunAdmitted
from rapidfire_cli.store.series import Point, offsets, points
from rapidfire_cli.terms import Clone, Run, WarmStart
from rapidfire_cli.view.top.curves import _stretches, curves
from tests.store.sweep import config, enrolled, epoch, runs


def point(epoch: int, value: float, ended: bool = True) -> Point:
    return Point(1, epoch, epoch * 10, "train", "loss", value, ended)


def test_points_inside_an_epoch_are_at_the_ends_of_its_chunks():
    measured = [
        point(1, 0.9, ended=False),
        point(1, 0.8),
        point(2, 0.7, ended=False),
        point(2, 0.6, ended=False),
    ]
    [curve] = curves(measured, {1: ""}, {}, chunks=4)
    assert curve.at == [0.25, 1, 1.25, 1.5]
    assert curve.values == [0.9, 0.8, 0.7, 0.6]


def test_a_run_without_a_value_has_an_empty_curve_in_its_place():
    first, second = curves([point(1, 0.5)], {2: "b", 1: "a"}, {}, chunks=1)
    assert (first.run, first.values, second.run, second.values) == (2, [], 1, [0.5])
    assert first.colour != second.colour


def test_a_warm_clone_begins_where_its_weights_are_from_also_if_those_are_of_a_clone(tmp_path):
    journal = enrolled(tmp_path / "journal.db", count=1)
    [parent] = runs(1)
    clone = Run(2, "b" * 16, 1, config(2), 42, origin=Clone(1), warm_start=WarmStart(parent.id, 3))
    again = Run(3, "c" * 16, 1, config(3), 42, origin=Clone(2), warm_start=WarmStart(clone.id, 2))
    journal.record([RunAdmitted(clone), RunAdmitted(again), epoch(3, 1, 0.5)])
    assert offsets(tmp_path / "journal.db") == {2: 3, 3: 5}
    measured = points(tmp_path / "journal.db", [3], ("validation", "top1_accuracy"))
    [curve] = curves(measured, {3: ""}, {2: 3, 3: 5}, chunks=1)
    assert curve.at == [6]


def test_nan_interrupts_a_curve():
    found = [*_stretches([1, 2, 3, 4], [0.1, math.nan, 0.3, 0.4])]
    assert found == [([1], [0.1]), ([3, 4], [0.3, 0.4])]
