"""A curve in a line of text."""

import math
from collections.abc import Sequence
from itertools import pairwise

BARS = "▁▂▃▄▅▆▇█"
GAP = " "  # for what is no number
WIDTH = 40  # bars at most


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """A bar for each value, scaled from the smallest to the largest finite one.

    Of more values than `width` each bar is the mean of its neighbours.
    """
    shown = [_mean(values[start:end]) for start, end in _parts(len(values), width)]
    finite = [value for value in shown if math.isfinite(value)]
    if not finite:
        return GAP * len(shown)
    least, span = min(finite), max(finite) - min(finite)
    return "".join(_bar(value, least, span) for value in shown)


def _bar(value: float, least: float, span: float) -> str:
    if not math.isfinite(value):
        return GAP
    return BARS[round((value - least) / span * (len(BARS) - 1))] if span else BARS[0]


def _parts(count: int, width: int) -> list[tuple[int, int]]:
    bars = min(count, width)
    ends = [count * bar // bars for bar in range(bars + 1)] if bars else [0]
    return [*pairwise(ends)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
