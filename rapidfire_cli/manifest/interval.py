"""The arithmetic of a Range: how many points it has, and the point at a given fraction of it.

Everything here gives the same bits on every machine: integers, exact fractions, single IEEE operations, and
for logarithms `decimal`, whose results are specified to the last digit (those of the C library are not).
"""

import math
from collections.abc import Callable
from typing import TypeAlias

from rapidfire_cli.syntax.ast import Range

Point: TypeAlias = Callable[[float], int | float]
"""From u, 0 ≤ u < 1, to a point of the interval; uniform fractions give the Range's distribution."""

FRACTION_BITS = 53  # cited: `random()` gives multiples of 2**-53 (Python's `random` module)
LOG_DIGITS = 20  # cited: 17 digits distinguish any float from its neighbours (IEEE 754-2008, 5.12.2)


def points(interval: Range) -> int | None:
    """How many points can be drawn; None for a continuum."""
    if interval.dtype == "int":
        return int(interval.end - interval.start) // int(interval.step or 1) + 1
    if interval.step is not None:
        return _steps(interval.start, interval.end, interval.step)
    return 1 if interval.start == interval.end else None


def point(interval: Range) -> Point:
    """The function that draws from the interval when it is fed uniform fractions."""
    return _among_ints(interval) if interval.dtype == "int" else _among_floats(interval)


def _among_ints(interval: Range) -> Point:
    start, end = int(interval.start), int(interval.end)
    step, count = int(interval.step or 1), points(interval) or 1
    if interval.log:
        power = _power(start, end + 1)  # each int has the share of the logarithm between it and the next
        return lambda u: min(math.floor(power(u)), end)
    return lambda u: start + step * _index(u, count)


def _among_floats(interval: Range) -> Point:
    start, end = float(interval.start), float(interval.end)
    if interval.step is not None:
        return _stepped(start, end, interval.step)
    if interval.log:
        return _power(start, end)
    return lambda u: min(max(start * (1 - u) + end * u, start), end)  # `end - start` could overflow


def _stepped(start: float, end: float, step: float) -> Point:
    from fractions import Fraction

    first, stride, count = Fraction(repr(start)), Fraction(repr(step)), _steps(start, end, step)
    return lambda u: float(first + stride * _index(u, count))  # 0.1 + 2 × 0.1 is 0.3, as one reads it


def _power(start: float, end: float) -> Point:
    from decimal import Context, Decimal

    exact = Context(prec=LOG_DIGITS)
    low = exact.ln(Decimal(repr(start)))
    width = exact.subtract(exact.ln(Decimal(repr(end))), low)
    return lambda u: min(max(float(exact.exp(exact.fma(Decimal(u), width, low))), start), end)


def _index(u: float, count: int) -> int:
    """The place of the fraction among `count` equal shares, in exact arithmetic."""
    return int(u * 2**FRACTION_BITS) * count >> FRACTION_BITS


def _steps(start: float, end: float, step: float) -> int:
    from fractions import Fraction

    return int((Fraction(repr(end)) - Fraction(repr(start))) // Fraction(repr(step))) + 1
