"""Ranges as arithmetic."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidfire_cli.manifest.interval import point, points
from rapidfire_cli.syntax.ast import Range

LAST = 1 - 2**-53  # the largest fraction that `random()` gives

fractions = st.integers(0, 2**53 - 1).map(lambda share: share / 2**53)
finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=5e-324, allow_nan=False, allow_infinity=False)
normal = st.floats(min_value=1e-300, max_value=1e300)
ints = st.integers(-(2**63), 2**63 - 1)


@given(finite, finite, fractions)
def test_a_uniform_float_lies_between_its_ends(one, other, u):
    start, end = sorted((one, other))
    drawn = point(Range(start, end, "float"))(u)
    assert type(drawn) is float
    assert start <= drawn <= end


@given(positive, positive, fractions)
def test_a_log_uniform_float_lies_between_its_ends(one, other, u):
    start, end = sorted((one, other))
    drawn = point(Range(start, end, "float", log=True))(u)
    assert type(drawn) is float
    assert start <= drawn <= end


@given(ints, ints, fractions)
def test_a_uniform_int_lies_between_its_ends(one, other, u):
    start, end = sorted((one, other))
    drawn = point(Range(start, end, "int"))(u)
    assert type(drawn) is int
    assert start <= drawn <= end


@given(st.integers(1, 2**63), st.integers(1, 2**63), fractions)
def test_a_log_uniform_int_lies_between_its_ends(one, other, u):
    start, end = sorted((one, other))
    drawn = point(Range(start, end, "int", log=True))(u)
    assert type(drawn) is int
    assert start <= drawn <= end


@given(st.integers(-50, 50), st.integers(0, 50), st.integers(1, 20), fractions)
def test_a_stepped_int_is_a_whole_number_of_steps_from_the_start(start, width, step, u):
    drawn = point(Range(start, start + width, "int", step=step))(u)
    assert type(drawn) is int
    assert drawn in range(start, start + width + 1, step)


@given(st.integers(-50, 50), st.integers(0, 50), st.integers(1, 20), fractions)
def test_a_stepped_float_is_the_decimal_that_one_reads(start, width, step, u):
    interval = Range(start / 10, (start + width) / 10, "float", step=step / 10)
    drawn = point(interval)(u)
    assert type(drawn) is float
    assert drawn in [tenth / 10 for tenth in range(start, start + width + 1, step)]


def test_both_ends_of_ints_and_steps_can_be_drawn():
    for interval in (
        Range(3, 7, "int"),
        Range(1, 1000, "int", log=True),
        Range(2, 10, "int", step=4),
        Range(0.1, 0.5, "float", step=0.2),
    ):
        draw = point(interval)
        assert (draw(0.0), draw(LAST)) == (interval.start, interval.end)


def test_an_end_that_no_step_reaches_is_never_drawn():
    assert point(Range(0.0, 1.0, "float", step=0.3))(LAST) == 0.9
    assert point(Range(0, 10, "int", step=4))(LAST) == 8


def test_half_way_is_the_middle_of_a_range_and_the_geometric_middle_of_a_log_range():
    assert point(Range(0, 2.0, "float"))(0.5) == 1.0
    assert point(Range(1e-6, 1e-2, "float", log=True))(0.5) == 1e-4


@given(normal, normal, fractions)
def test_a_log_draw_has_the_digits_that_exact_arithmetic_gives(one, other, u):
    start, end = sorted((one, other))
    drawn = point(Range(start, end, "float", log=True))(u)
    exact = math.log(start) + u * (math.log(end) - math.log(start))
    assert math.log(drawn) == pytest.approx(exact, rel=1e-9, abs=1e-9)


def test_the_widest_interval_does_not_overflow():
    largest = 1.7976931348623157e308
    assert point(Range(-largest, largest, "float"))(0.5) == 0.0


@pytest.mark.parametrize(
    ("interval", "count"),
    [
        (Range(1, 8, "int"), 8),
        (Range(1, 8, "int", log=True), 8),
        (Range(1, 8, "int", step=3), 3),
        (Range(0.0, 1.0, "float", step=0.1), 11),
        (Range(0.0, 1e308, "float", step=1e-308), int(Fraction("1e308") / Fraction("1e-308")) + 1),
        (Range(0.5, 0.5, "float"), 1),
        (Range(0, 1, "float"), None),
    ],
)
def test_points_are_counted_exactly(interval, count):
    assert points(interval) == count
