"""Parallel coordinates: an axis for each knob that varies and one for the metric, a line for each run."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rapidfire_cli.terms import Direction, Plain
from rapidfire_cli.view.plots.figure import GREY, INK, drawn, short, title
from rapidfire_cli.view.wording import counted, metric_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DECADES = 20  # times the smallest value; beyond that an axis is logarithmic (assumed)
FEW = 6  # different numbers that all get a label on their axis (assumed)
BEST = 3  # runs that are drawn bold


@dataclass(frozen=True, slots=True)
class Axis:
    """Where the values of a knob are on its axis, from 0 to 1, and which of them are labelled."""

    name: str
    places: tuple[float | None, ...]  # by run; None where the run lacks the knob
    labels: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A run: its knobs, in the order of the axes, and its value."""

    run: int
    knobs: tuple[Plain, ...]
    value: float


def draw_parallel(
    path: Path,
    experiment: str,
    metric: str,
    direction: Direction,
    names: Sequence[str],
    lines: Sequence[Line],
) -> None:
    """Draw the lines, which come best first. Raises OSError."""
    from matplotlib import colormaps

    axes_of = [axis(name, [line.knobs[place] for line in lines]) for place, name in enumerate(names)]
    axes_of.append(axis(metric, [line.value for line in lines], _value))
    shades = colormaps["viridis"]
    with drawn(path, max(6.0, 1.5 * len(axes_of) + 1.5), 4.4) as figure:
        axes = figure.add_subplot()
        for rank in reversed(range(len(lines))):
            goodness = 1 - rank / max(len(lines) - 1, 1)
            heights = [each.places[rank] for each in axes_of]
            known = [(place, height) for place, height in enumerate(heights) if height is not None]
            axes.plot(
                [place for place, _ in known],
                [height for _, height in known],
                color=shades(0.92 * (1 - goodness)),
                linewidth=2.2 if rank < BEST else 1.0,
                alpha=1.0 if rank < BEST else 0.55,
                zorder=3 + goodness,
                solid_joinstyle="round",
            )
        for place, each in enumerate(axes_of):
            _draw_axis(axes, place, each, side=1 if place == len(axes_of) - 1 else -1)
        axes.set_xlim(-0.25, len(axes_of) - 0.75 + 0.25)
        axes.set_ylim(-0.06, 1.12)
        axes.axis("off")
        better = "lower is better" if direction == "min" else "higher is better"
        note = f"{experiment}: {counted(len(lines), 'run')}, dark is best ({better}); the best {BEST} bold"
        title(figure, f"{metric} by knob", note)


def axis(name: str, values: Sequence[Plain], text: Callable[[Plain], str] = short) -> Axis:
    """Place the values of a knob: numbers by size, all others side by side in the order of their texts.

    None is the value of runs that lack the knob.
    """
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return _by_size(name, cast("Sequence[float | None]", values), text)
    kinds = sorted(set(map(text, known)))
    at = {kind: _share(place, 0, len(kinds) - 1) for place, kind in enumerate(kinds)}
    places = tuple(None if value is None else at[text(value)] for value in values)
    return Axis(name, places, tuple((place, kind) for kind, place in at.items()))


def _by_size(name: str, values: Sequence[float | None], text: Callable[[Plain], str]) -> Axis:
    known = sorted({value for value in values if value is not None})
    logarithmic = known[0] > 0 and known[-1] / known[0] >= DECADES
    scaled = math.log if logarithmic else float
    low, high = scaled(known[0]), scaled(known[-1])
    places = tuple(None if value is None else _share(scaled(value), low, high) for value in values)
    shown = known if len(known) <= FEW else (known[0], known[-1])
    return Axis(name, places, tuple((_share(scaled(value), low, high), text(value)) for value in shown))


def _value(value: Plain) -> str:
    return metric_text(cast("float", value))


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _draw_axis(axes: "Axes", place: int, each: Axis, side: int) -> None:
    """Draw an axis, its labels to the right (1) or to the left (-1)."""
    axes.plot([place, place], [0, 1], color=GREY, linewidth=0.8, zorder=2)
    axes.text(place, 1.07, each.name, ha="center", fontsize=9, fontweight="bold", color=INK)
    for height, label in each.labels:
        axes.plot([place, place + 0.02 * side], [height, height], color=GREY, linewidth=0.8, zorder=2)
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
        axes.text(
            *(place + 0.04 * side, height, label),
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=8,
            color=GREY,
            bbox=box,
            zorder=9,
        )
