"""The curves of some runs, in braille dots."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.reactive import reactive
from textual.widgets import Static
from textual_hires_canvas import HiResMode
from textual_plot import NumericAxisFormatter, PlotWidget

from rapidfire_cli.problems import visible
from rapidfire_cli.store.series import Point
from rapidfire_cli.view.top.table import MARK
from rapidfire_cli.view.wording import metric_text

COLOURS = ("#4fc3f7", "#ffb74d", "#81c784", "#f06292", "#ba68c8", "#fff176", "#4db6ac", "#e57373")
"""The colours of the curves; no more runs than these are drawn."""
LABELS = 9  # cells of the labels of the vertical axis


@dataclass(frozen=True, slots=True)
class Curve:
    """A run's values of one metric."""

    run: int
    label: str  # what tells the run from the others
    colour: str
    at: Sequence[float]  # epochs, or steps
    values: Sequence[float]


class Plot(PlotWidget, can_focus=False):
    """A plot with narrow margins that takes no keys."""

    margin_top = reactive(0)
    margin_bottom = reactive(1)
    margin_left = reactive(LABELS)


class Ticks(NumericAxisFormatter):
    """As many ticks as there is room for."""

    def __init__(self, most: int, whole: bool = False) -> None:
        super().__init__()
        self._most, self._whole = most, whole

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        """Ticks at round values, at most `max_ticks`."""
        ticks = super().get_ticks(min_, max_, max(2, min(self._most, max_ticks)))
        return [tick for tick in ticks if not self._whole or float(tick).is_integer()]


class Curves(Vertical):
    """A legend in a line, and the plot."""

    DEFAULT_CSS = """
    Curves > #legend-line { height: 1; padding: 0 1; }
    Curves > Plot { height: 1fr; }
    Curves > Plot > .plot--axis { color: $text-disabled; }
    Curves > Plot > .plot--tick { color: $text-muted; text-style: none; }
    """

    def compose(self) -> ComposeResult:
        """The legend above the plot."""
        yield Static(id="legend-line", markup=False)
        yield Plot(allow_pan_and_zoom=False)

    def show(self, title: str, curves: Sequence[Curve], logarithmic: bool) -> None:
        """Draw these curves; values below zero have no logarithm."""
        plot = self.query_one(Plot)
        plot.clear()
        first = min((curve.at[0] for curve in curves if curve.at), default=1.0)
        last = max((curve.at[-1] for curve in curves if curve.at), default=1.0)
        plot.set_xlimits(first, max(last, first + 1))
        plot.set_y_formatter(Ticks(plot.size.height // 2))
        plot.set_x_formatter(Ticks(plot.size.width // 10, whole=True))
        for curve in reversed(curves):  # where two curves share a cell, the later one is seen
            values = [_logarithm(value) for value in curve.values] if logarithmic else curve.values
            for at, part in _stretches(curve.at, values):
                if len(part) > 1:
                    plot.plot(at, part, curve.colour, HiResMode.BRAILLE)
                else:
                    plot.scatter(at, part, "•", curve.colour)
        self.query_one("#legend-line", Static).update(_legend(title, curves, logarithmic), layout=False)


def curves(
    points: Iterable[Point], labels: Mapping[int, str], before: Mapping[int, int], chunks: int
) -> Iterator[Curve]:
    """A curve for each run, in the order of the labels, over the epochs that were trained.

    `before` is the number of epochs that were trained before each run began. `chunks` is the number of chunks
    in an epoch; there may be points at their ends, too.
    """
    found: dict[int, list[Point]] = {}
    for point in points:
        found.setdefault(point.run, []).append(point)
    for place, (run, label) in enumerate(labels.items()):
        own, began = found.get(run, []), before.get(run, 0)
        at = [began + epochs for epochs in _epochs(own, chunks)]
        yield Curve(run, label, COLOURS[place % len(COLOURS)], at, [point.value for point in own])


def _epochs(points: Sequence[Point], chunks: int) -> Iterator[float]:
    """The epochs that were trained until each point."""
    for epoch, part in groupby(points, lambda point: point.epoch):
        for chunk, point in enumerate(part, start=1):
            yield epoch if point.ended else epoch - 1 + chunk / chunks


def _legend(title: str, curves: Sequence[Curve], logarithmic: bool) -> Text:
    line = Text(f"{visible(title)}{' (log 10)' if logarithmic else ''}  ", "bold")
    for curve in curves:
        last = metric_text(curve.values[-1]) if curve.values else "no value yet"
        label = f" ({curve.label})" if curve.label else ""
        line.append(f"{MARK} ", curve.colour)
        line.append(f"{curve.run}{label} {last}  ", "not bold")
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _stretches(at: Sequence[float], values: Sequence[float]) -> Iterator[tuple[list[float], list[float]]]:
    """The stretches without a gap: NaN and the infinities interrupt a curve."""
    for finite, part in groupby(zip(at, values, strict=True), lambda pair: math.isfinite(pair[1])):
        if finite:
            xs, ys = zip(*part, strict=True)
            yield list(xs), list(ys)


def _logarithm(value: float) -> float:
    return math.log10(value) if value > 0 else math.nan
