"""The live table's columns: which ones there is room for, and what each shows of a run."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from rich.cells import cell_len, set_cell_size

from rapidfire_cli.facts import reading
from rapidfire_cli.store.ranking import Metric
from rapidfire_cli.terms import LOSS, TRAIN, RunState
from rapidfire_cli.view.board import Board, Line
from rapidfire_cli.view.knob_columns import numeric, short_names
from rapidfire_cli.view.results import in_order
from rapidfire_cli.view.signs import SIGNS, STYLES, WAITING
from rapidfire_cli.view.wording import metric_text, metric_title

Styled: TypeAlias = tuple[str, str]
"""A text and its rich style."""

PARTIAL_METRIC: Metric = (TRAIN, LOSS)
"""The metric that has a value, dim, before the first epoch is over."""

GAP = "  "
WIDEST_CELL = 16  # of a knob or metric, in terminal cells
BAR_WIDTHS = range(6, 25)


@dataclass(frozen=True, slots=True)
class LiveColumn:
    """A column: its title and rows, padded to one width."""

    head: str
    width: int
    draw: Callable[[Line], Iterable[Styled]]


def columns(board: Board, width: int) -> list[LiveColumn]:
    """The columns that fit into `width` cells: the objective first, then knobs, then the other metrics."""
    ahead = [_run(board), _state()]
    objective, *others = map(_metric, _metrics(board))
    knobs = _knobs(board)
    longest = max((line.epochs for line in board.lines.values()), default=1)
    room = width - _taken(ahead) - len(GAP) - _progress_width(longest, BAR_WIDTHS[0])
    kept: list[LiveColumn] = []
    for column in (objective, *knobs, *others):
        if _taken([column]) <= room:
            room -= _taken([column])
            kept.append(column)
    progress = _progress(board, longest, min(BAR_WIDTHS[0] + max(room, 0), BAR_WIDTHS[-1]))
    return [*ahead, progress, *(column for column in (*knobs, objective, *others) if column in kept)]


def fitted(text: str, width: int, right: bool = False) -> str:
    """The text in exactly `width` cells; what is cut off leaves an ellipsis."""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…" if width > 0 else ""
    return " " * (width - length) + text if right else text + " " * (width - length)


def bar(done: float, width: int, style: str) -> Iterator[Styled]:
    """A progress bar of exactly `width` cells; its parts differ in shape too, so it needs no colour."""
    halves = int(2 * width * min(done, 1.0))
    filled = "━" * (halves // 2) + "╸" * (halves % 2)
    yield filled, style
    yield "─" * (width - len(filled)), "dim"


def _taken(columns: Iterable[LiveColumn]) -> int:
    return sum(column.width + len(GAP) for column in columns)


def _text(title: str, width: int, right: bool, text: Callable[[Line], Styled]) -> LiveColumn:
    def draw(line: Line) -> Iterator[Styled]:
        shown, style = text(line)
        yield fitted(shown, width, right), style

    return LiveColumn(fitted(title, width, right), width, draw)


def _run(board: Board) -> LiveColumn:
    width = max(len("run"), len(str(max(board.lines, default=1))))
    return _text("run", width, True, lambda line: (str(line.number), ""))


def _state() -> LiveColumn:
    def state(line: Line) -> Styled:
        waiting = line.state is RunState.RUNNING and not line.training
        sign = WAITING if waiting else SIGNS[line.state]
        return f"{sign} {line.state}", "dim" if waiting else STYLES[line.state]

    return _text("  state", len("■ interrupted"), False, state)


def _progress_width(epochs: int, bar_width: int) -> int:
    return bar_width + 1 + 2 * len(str(epochs)) + 1


def _progress(board: Board, longest: int, bar_width: int) -> LiveColumn:
    def draw(line: Line) -> Iterator[Styled]:
        style = STYLES[line.state]
        yield from bar(line.at / (line.epochs * board.metadata.chunks), bar_width, style)
        yield fitted(f"{line.epoch}/{line.epochs}", width - bar_width, right=True), ""

    width = _progress_width(longest, bar_width)
    return LiveColumn(fitted("epoch", width, right=True), width, draw)


def _knobs(board: Board) -> list[LiveColumn]:
    return [_knob(board, index, name) for index, name in enumerate(short_names(board.paths))]


def _knob(board: Board, index: int, name: str) -> LiveColumn:
    texts = [line.knobs[index] for line in board.lines.values()]
    width = min(max(map(cell_len, (name, *texts))), WIDEST_CELL)
    return _text(name, width, numeric(texts), lambda line: (line.knobs[index], ""))


def _metrics(board: Board) -> list[Metric]:
    """The columns of metrics, including partial training metrics if they are reported."""
    metrics = in_order(board.known, reading(board.known, board.metadata.objective.metric))
    if board.metadata.chunks == 1:
        return metrics
    early = ((TRAIN, name) for line in board.lines.values() for name in line.partial_metrics)
    return list(dict.fromkeys((*metrics, PARTIAL_METRIC, *early)))


def _metric(metric: Metric) -> LiveColumn:
    split, name = metric

    def value(line: Line) -> Styled:
        if split == TRAIN and name in line.partial_metrics:
            return metric_text(line.partial_metrics[name]), "dim"
        return metric_text(line.metrics.get(split, {}).get(name)), ""

    title = metric_title(split, name)
    return _text(title, min(max(len(title), len("-1.0000")), WIDEST_CELL), True, value)
