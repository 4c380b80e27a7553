"""Which leaf config is best: an objective, a split to read it on, an order."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rapidfire_cli.engine.directions import usual_direction
from rapidfire_cli.facts import reading
from rapidfire_cli.problems import Problem, Refusal, Span, did_you_mean
from rapidfire_cli.store.queries import RunRow, lasting
from rapidfire_cli.store.replicates import Spread, spread, together
from rapidfire_cli.terms import LOSS, VALIDATION, Direction, Objective, RunState, Split

Metric: TypeAlias = tuple[Split, str]
"""A metric where it is measured: its split and its name."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A leaf config's runs and the value they are ranked by; None if none has the metric yet."""

    rank: int  # 1, 2, …
    rows: tuple[RunRow, ...]  # its replicates; mostly one
    value: Spread | None

    @property
    def row(self) -> RunRow:
        """The first of the runs; they differ by their seed alone."""
        return self.rows[0]

    @property
    def failed(self) -> bool:
        """Whether none of the runs counts."""
        return _failed(self.rows)


def usual_objective(named_metrics: Sequence[str]) -> Objective:
    """The default objective: the first named metric, else the loss."""
    metric = named_metrics[0] if named_metrics else LOSS
    return Objective(metric, usual_direction(metric) or "max")


def direction_of(metric: str, rows: Iterable[RunRow]) -> Direction:
    """The usual direction of a metric. Raises Refusal when it is unknown."""
    if usual := usual_direction(metric):
        return usual
    message = f"the better direction of `{metric}` is unknown"
    undirected = Problem("E610", message, hint="use `--min` if lower is better, `--max` if higher is")
    known = known_metrics(rows)
    raise Refusal([(unknown(metric, known) if known else None) or undirected])


def ranking(rows: Sequence[RunRow], objective: Objective) -> list[Ranked]:
    """The leaf configs, best first, by the objective at the epoch that it names, its mean over replicates.

    The rows' best epochs must be those by this objective.
    Ties go to the lower number. NaN ranks below every number, no value below that, and failed runs last; a
    run whose place another one took is not among them.
    Raises Refusal when runs have finished epochs but none has such a metric.
    """
    known = known_metrics(rows)
    split, name = reading(known, objective.metric)
    if known and (problem := unknown(objective.metric, known)):
        raise Refusal([problem])
    valued = [(same, spread(same, split, name, objective.at)) for same in together(_present(rows))]
    valued.sort(key=lambda pair: (_merit(pair[0], pair[1], objective.direction), pair[0][0].number))
    return [Ranked(rank, same, value) for rank, (same, value) in enumerate(valued, start=1)]


def _present(rows: Sequence[RunRow]) -> list[RunRow]:
    """The runs that were neither replaced nor deleted."""
    return [row for row in lasting(rows) if row.state is not RunState.DELETED]


def measured(rows: Iterable[RunRow], metric: str) -> Metric:
    """The split and name that these runs are ranked by when `metric` is asked for."""
    return reading(known_metrics(rows), metric)


def known_metrics(rows: Iterable[RunRow]) -> dict[Split, dict[str, None]]:
    """The names of the metrics that some run has, by split, in order of appearance."""
    known: dict[Split, dict[str, None]] = {}
    for row in rows:
        for split, named in row.metrics.items():
            known.setdefault(split, {}).update(dict.fromkeys(named))
    return known


def sort_key(state: RunState, value: float | None, direction: Direction) -> tuple[int, float]:
    """What runs are sorted by; less is better."""
    if state is RunState.FAILED:
        return 3, 0.0
    if value is None:
        return 2, 0.0
    if math.isnan(value):
        return 1, 0.0
    return 0, value if direction == "min" else -value


def _merit(rows: Sequence[RunRow], value: Spread | None, direction: Direction) -> tuple[int, float]:
    state = RunState.FAILED if _failed(rows) else RunState.COMPLETED
    return sort_key(state, value.mean if value else None, direction)


def _failed(rows: Sequence[RunRow]) -> bool:
    return all(row.state is RunState.FAILED for row in rows)


def unknown(metric: str, known: Mapping[Split, Collection[str]], at: Span | None = None) -> Problem | None:
    """What is wrong with a metric that is asked for and that no run has."""
    split, name = reading(known, metric)
    if name in known.get(split, ()):
        return None
    named = [(split, name) for split, names in known.items() for name in names]
    spelt = [name if split == VALIDATION else f"{split}.{name}" for split, name in named]
    expected, hint = f"one of {', '.join(spelt)}", did_you_mean(metric, spelt)
    return Problem("E605", f"no run has a metric `{metric}`", at, expected=expected, hint=hint)
