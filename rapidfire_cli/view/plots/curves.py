"""Learning curves: the best runs in colour, each with its number and knobs at its end; the others in grey."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rapidfire_cli.view.plots.figure import COLOURS, PALE, apart, drawn, light_grid, title
from rapidfire_cli.view.wording import counted, metric_text

MOST = len(COLOURS)  # runs that can be told apart by colour
LINE = 0.055  # of the height of the axes: the space that a label needs (measured)


@dataclass(frozen=True, slots=True)
class Curve:
    """The values of a run by epoch, and what it is called."""

    run: int
    knobs: str  # the values of those that vary
    values: Mapping[int, float]  # by epoch; may be NaN


def draw_curves(path: Path, experiment: str, metric: str, curves: Sequence[Curve]) -> None:
    """Draw the curves, which come best first. Raises OSError."""
    from matplotlib.ticker import MaxNLocator

    best = curves[:MOST]
    with drawn(path, 7.5, 4.2) as figure:
        axes = figure.add_subplot()
        shown = f"; the best {len(best)} in colour" if len(curves) > len(best) else ""
        title(figure, metric, f"{experiment}: {counted(len(curves), 'run')}{shown}")
        for curve in curves[MOST:]:
            axes.plot([*curve.values], [*curve.values.values()], color=PALE, linewidth=0.8, zorder=1)
        for curve, colour in reversed([*zip(best, COLOURS, strict=False)]):
            epochs, values = [*curve.values], [*curve.values.values()]
            axes.plot(epochs, values, color=colour, linewidth=1.8, zorder=2)
            axes.plot(epochs[-1:], values[-1:], "o", color=colour, markersize=4, zorder=3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        light_grid(axes)
        axes.margins(x=0.02)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the axes keep their width; the figure grows by the labels
        low, high = axes.get_ylim()
        ends = [_last(curve) for curve in best]
        known = [(end - low) / (high - low) if math.isfinite(end) else 0.0 for end in ends]
        for curve, colour, end, place in zip(
            best, COLOURS, ends, _below_top(apart(known, LINE)), strict=False
        ):
            text = f"run {curve.run}  {metric_text(end)}   {curve.knobs}".rstrip()
            axes.annotate(
                text,
                (1.0, place),
                xycoords="axes fraction",
                xytext=(8, 0),
                textcoords="offset points",
                color=colour,
                va="center",
                fontsize=8.5,
            )


def _below_top(places: Sequence[float]) -> list[float]:
    """The places, moved down until none is above the axes."""
    above = max(*places, 1.0) - 1.0
    return [place - above for place in places]


def _last(curve: Curve) -> float:
    """Its last value that is a number."""
    known = [value for value in curve.values.values() if math.isfinite(value)]
    return known[-1] if known else math.nan
