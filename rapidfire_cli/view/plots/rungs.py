"""The rungs of brackets: which runs were promoted, which were pruned, and where the cut was."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rapidfire_cli.view.plots.figure import COLOURS, GREY, INK, PALE, drawn, light_grid, title
from rapidfire_cli.view.wording import counted, metric_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 3  # brackets in a row


@dataclass(frozen=True, slots=True)
class Rung:
    """The decision after some epochs: each run's value, and whether it was promoted."""

    epochs: int
    verdicts: Mapping[int, tuple[float | None, bool]]
    cut: float | None  # the value of the last run that was promoted


@dataclass(frozen=True, slots=True)
class Bracket:
    """A bracket's rungs, and the values of the runs that were trained to the end."""

    number: int
    rungs: tuple[Rung, ...]
    finished: Mapping[int, float]  # by run
    epochs: int  # that these were trained


def draw_rungs(
    path: Path, experiment: str, metric: str, best: int | None, brackets: Sequence[Bracket]
) -> None:
    """Draw a panel for each bracket; `best` is the run to name. Raises OSError."""
    across = min(len(brackets), WIDE)
    down = math.ceil(len(brackets) / across)
    with drawn(path, 1.2 + 3.4 * max(across, 1.6), 0.9 + 2.9 * down) as figure:
        panels = figure.subplots(down, across, sharey=True, squeeze=False)
        for panel, bracket in zip(panels.flat, brackets, strict=False):
            _draw(panel, bracket, best)
        for panel in list(panels.flat)[len(brackets) :]:
            panel.axis("off")
        runs = {run for bracket in brackets for rung in bracket.rungs for run in rung.verdicts}
        note = f"{experiment}: {counted(len(runs), 'run')}; filled: promoted, hollow: pruned, line: the cut"
        title(figure, f"{metric} at each rung", note)


def _draw(axes: "Axes", bracket: Bracket, best: int | None) -> None:
    levels = [*(rung.epochs for rung in bracket.rungs), bracket.epochs]
    at = {epochs: place for place, epochs in enumerate(dict.fromkeys(levels))}
    for run, points in _paths(bracket).items():
        own = run == best
        axes.plot(
            [at[epochs] for epochs, _ in points],
            [value for _, value in points],
            color=COLOURS[1] if own else PALE,
            linewidth=1.8 if own else 0.8,
            zorder=3 if own else 1,
        )
        if own:
            epochs, value = points[-1]
            axes.annotate(
                f"run {run}\n{metric_text(value)}",
                (at[epochs], value),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                color=COLOURS[1],
                fontsize=8.5,
            )
    for rung in bracket.rungs:
        for promoted, face in ((False, "white"), (True, COLOURS[0])):
            values = _known(value for value, passed in rung.verdicts.values() if passed is promoted)
            edge = COLOURS[0] if promoted else GREY
            axes.scatter(
                [at[rung.epochs]] * len(values), values, 22, face, edgecolors=edge, linewidths=0.9, zorder=4
            )
        for cut in _known([rung.cut]):
            axes.hlines(
                cut, at[rung.epochs] - 0.22, at[rung.epochs] + 0.22, color=INK, linewidth=1.2, zorder=5
            )
    values = _known(bracket.finished.values())
    axes.scatter([at[bracket.epochs]] * len(values), values, 22, COLOURS[0], zorder=4)
    axes.set_xticks([*at.values()], [str(epochs) for epochs in at])
    axes.set_xlim(-0.4, len(at) - 1 + 0.75)
    axes.set_xlabel("epochs")
    axes.set_title(f"bracket {bracket.number}", loc="left", fontsize=9, color=GREY)
    light_grid(axes)


def _paths(bracket: Bracket) -> dict[int, list[tuple[int, float]]]:
    """The values of each run from rung to rung."""
    paths: dict[int, list[tuple[int, float]]] = {}
    for rung in bracket.rungs:
        for run, (value, _) in rung.verdicts.items():
            if value is not None and math.isfinite(value):
                paths.setdefault(run, []).append((rung.epochs, value))
    for run, value in bracket.finished.items():
        if math.isfinite(value):
            paths.setdefault(run, []).append((bracket.epochs, value))
    return paths


def _known(values: Iterable[float | None]) -> list[float]:
    """The finite numbers among the values."""
    return [value for value in values if value is not None and math.isfinite(value)]
