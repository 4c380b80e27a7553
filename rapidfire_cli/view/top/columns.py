"""The columns of the table of runs: what each shows of a run, and how it sorts runs.

A cell is made when its row comes into view, so ten thousand runs cost no more than those on the screen.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from rapidfire_cli.manifest.knob_paths import ABSENT, cell
from rapidfire_cli.problems import visible
from rapidfire_cli.store.queries import RunRow
from rapidfire_cli.store.ranking import Metric
from rapidfire_cli.terms import TRAIN, Clone, Fork, OomRetry, Proposal, RunState
from rapidfire_cli.view.knob_columns import knob_value, numeric, short_names, varied
from rapidfire_cli.view.results import in_order
from rapidfire_cli.view.signs import SIGNS, STYLES, WAITING
from rapidfire_cli.view.top.watched import Watched
from rapidfire_cli.view.wording import NOTHING, metric_text, metric_title

SortKey: TypeAlias = tuple[int, float, str]
"""What rows are sorted by; what has no value comes last, in either direction."""

SAMPLE = 64  # rows by which a column's alignment is decided (assumed)
NOT_A_NUMBER: SortKey = (8, 0.0, "")
LAST: SortKey = (9, 0.0, "")


@dataclass(frozen=True, slots=True)
class RunColumn:
    """A column of the table."""

    title: str
    text: Callable[[RunRow], tuple[str, str]]  # and its rich style
    key: Callable[[RunRow], SortKey]
    right: bool = True
    fixed: bool = False  # stays when the table is scrolled to the side
    descending: bool = False  # what people look for is largest


def columns_shape(known: Watched) -> tuple[object, ...]:
    """What the columns follow from: while it is the same, so are they."""
    metrics = tuple((split, *named) for split, named in known.known.items())
    with_best = any(row.best and row.epochs > 1 for row in known.rows.values())
    return id(known), len(known.rows), metrics, with_best


def columns(known: Watched) -> list[RunColumn]:
    """The run, its state and progress, the objective, the knobs that vary, the other metrics."""
    rows = [*known.rows.values()]
    objective = known.measured
    metrics = in_order(known.known, objective)
    best = [_best(known, objective)] if any(row.best and row.epochs > 1 for row in rows) else []
    return [
        RunColumn("run", lambda row: (str(row.number), ""), lambda row: _number(row.number), fixed=True),
        _state(known),
        RunColumn("epoch", _epoch, lambda row: _number(row.epoch / row.epochs if row.epochs else 0.0)),
        *(_metric(known, metric) for metric in metrics[:1]),
        *_knobs(known, rows),
        *best,
        *(_metric(known, metric) for metric in metrics[1:]),
        *([_origin()] if any(row.origin for row in rows) else []),
    ]


def ordered(rows: Sequence[RunRow], column: RunColumn, descending: bool) -> list[RunRow]:
    """The rows by the column; equal ones by their number, NaN and no value last."""
    keyed = sorted(((column.key(row), row.number, row) for row in rows), key=lambda each: each[1])
    ranked = [each for each in keyed if each[0] < NOT_A_NUMBER]
    ranked.sort(key=lambda each: each[0], reverse=descending)
    rest = sorted((each for each in keyed if each[0] >= NOT_A_NUMBER), key=lambda each: each[0])
    return [row for _, _, row in (*ranked, *rest)]


def _state(known: Watched) -> RunColumn:
    order = {state: place for place, state in enumerate(RunState)}

    def text(row: RunRow) -> tuple[str, str]:
        state = known.state_of(row)
        if state is RunState.RUNNING and row.number not in known.training():
            return f"{WAITING} {state}", "dim"
        return f"{SIGNS[state]} {state}", STYLES[state]

    def key(row: RunRow) -> SortKey:
        return _number(order[known.state_of(row)])

    return RunColumn("state", text, key, right=False, fixed=True)


def _epoch(row: RunRow) -> tuple[str, str]:
    return f"{row.epoch}/{row.epochs}", ""


def _metric(known: Watched, metric: Metric) -> RunColumn:
    split, name = metric

    def text(row: RunRow) -> tuple[str, str]:
        if split == TRAIN and name in row.partial_metrics:
            return metric_text(row.partial_metrics[name]), "dim"
        return metric_text(row.metrics.get(split, {}).get(name)), ""

    def key(row: RunRow) -> SortKey:
        return _number(row.metrics.get(split, {}).get(name))

    descending = metric == known.measured and known.seen.objective.direction == "max"
    return RunColumn(visible(metric_title(split, name)), text, key, descending=descending)


def _best(known: Watched, metric: Metric) -> RunColumn:
    def text(row: RunRow) -> tuple[str, str]:
        return (f"{metric_text(row.best.value)} @ {row.best.epoch}" if row.best else NOTHING), ""

    def key(row: RunRow) -> SortKey:
        return _number(row.best.value if row.best else None)

    descending = known.seen.objective.direction == "max"
    return RunColumn(f"best {visible(metric_title(*metric))}", text, key, descending=descending)


def _knobs(known: Watched, rows: Sequence[RunRow]) -> Iterator[RunColumn]:
    paths = varied(known.overview())
    for path, name in zip(paths, short_names(paths), strict=True):
        yield _knob(path, visible(name), rows[:SAMPLE])


def _knob(path: str, name: str, sample: Sequence[RunRow]) -> RunColumn:
    def text(row: RunRow) -> tuple[str, str]:
        return knob_value(row.config, path), ""

    def key(row: RunRow) -> SortKey:
        value = cell(row.config, path)
        if isinstance(value, bool | int | float):
            return _number(value)
        return LAST if value is ABSENT else (1, 0.0, knob_value(row.config, path))

    return RunColumn(name, text, key, right=numeric(knob_value(row.config, path) for row in sample))


def _origin() -> RunColumn:
    def text(row: RunRow) -> tuple[str, str]:
        match row.origin:
            case Clone(parent):
                return f"clone of {parent}", ""
            case OomRetry(parent):
                return f"replaces {parent}", ""
            case Proposal(_, place):
                return f"proposal {place}", "dim"
            case Fork(_, _, _, parent):
                return f"fork of {parent}", ""
            case None:
                return "", ""
        assert_never(row.origin)

    def key(row: RunRow) -> SortKey:
        return (1, 0.0, text(row)[0]) if row.origin else LAST

    return RunColumn("origin", text, key, right=False)


def _number(value: float | None) -> SortKey:
    """Numbers in order; NaN after them, and no value last."""
    if value is None:
        return LAST
    return NOT_A_NUMBER if math.isnan(value) else (0, float(value), "")
