"""The look that all plots share: colours, type, axes, and labels that stand beside what they name."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rapidfire_cli.terms import Plain
from rapidfire_cli.view.wording import knob_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Colours that colour-blind people tell apart (Okabe and Ito 2008, without the faint yellow)."""

TITLE = 0.55  # inches that the title and its note take
INK, GREY, PALE = "#222222", "#6E6E6E", "#C9C9C9"  # text, notes, lines in the background

STYLE: Mapping[str, Any] = {
    "font.size": 9,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "savefig.dpi": 200,
    "svg.hashsalt": "rapidfire",  # the same data give the same file
}


@contextmanager
def drawn(path: Path, width: float, height: float) -> Iterator["Figure"]:
    """Yield a figure of this size in inches and save it at the end. Raises OSError."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(cast("dict[Any, Any]", STYLE)):
        figure = Figure((width, height), layout="constrained")
        yield figure
        dated = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(path, bbox_inches="tight", pad_inches=0.15, metadata=dated)


def title(figure: "Figure", text: str, note: str) -> None:
    """Write the title and below it a note in small type; the axes make room."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    height = figure.get_size_inches()[1]
    figure.text(0.01, 1 - 0.05 / height, text, va="top", fontsize=12, fontweight="bold")
    figure.text(0.01, 1 - 0.30 / height, note, va="top", fontsize=9, color=GREY)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(rect=(0, 0, 1, 1 - TITLE / height))


def short(value: Plain) -> str:
    """A knob's value in a plot; a float has three digits."""
    return f"{value:.3g}" if isinstance(value, float) else knob_text(value)


def light_grid(axes: "Axes") -> None:
    """Thin horizontal lines behind the data."""
    axes.grid(axis="y", color="#EBEBEB", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def apart(places: Sequence[float], gap: float) -> list[float]:
    """The places, moved as little as keeps neighbours at least `gap` apart; their order stays."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    blocks: list[list[int]] = []
    middles: list[float] = []
    for index in order:
        blocks.append([index])
        middles.append(places[index])
        while len(blocks) > 1 and middles[-1] - middles[-2] < gap * (len(blocks[-1]) + len(blocks[-2])) / 2:
            last = blocks.pop()
            middles.pop()
            blocks[-1] += last
            middles[-1] = sum(places[each] for each in blocks[-1]) / len(blocks[-1])
    moved = [0.0] * len(places)
    for block, middle in zip(blocks, middles, strict=True):
        for position, index in enumerate(block):
            moved[index] = middle + gap * (position - (len(block) - 1) / 2)
    return moved
