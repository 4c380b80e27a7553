"""Curves in a line of text."""

import math

import pytest

from rapidfire_cli.view.sparkline import sparkline


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([], ""),
        ([1, 2, 3, 4, 5, 6, 7, 8], "▁▂▃▄▅▆▇█"),
        ([3, 2, 1], "█▅▁"),
        ([5, 5], "▁▁"),
        ([0, math.nan, 1, math.inf], "▁ █ "),
        ([math.nan], " "),
    ],
)
def test_a_bar_for_each_value_from_the_smallest_to_the_largest(values, bars):
    assert sparkline(values) == bars


def test_neighbours_share_a_bar_where_there_are_too_many():
    assert sparkline([0, 0, 1, 1, 2, 2], width=3) == "▁▅█"
    assert len(sparkline(range(1001), width=40)) == 40
