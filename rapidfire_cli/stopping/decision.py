"""What decisions rest on: values, ranks, and the runs that wait for one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rapidfire_cli.terms import Direction

FAILED = None
"""In place of a value where a run failed before it had one."""

Results: TypeAlias = dict[int, dict[int, float | None]]
"""Values by epoch and run."""


Ranking: TypeAlias = tuple[tuple[int, float | None], ...]
"""Runs and what they were ranked by, best first."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A run that has come to a rung, or to the end of a round, that has not decided about it yet."""

    rung: int  # or round: 1, 2, …
    epochs: int
    known: int  # results at the rung so far
    entrants: int  # results that there will be, as far as is known now
    stage: Literal["rung", "round"] = "rung"


def sort_key(value: float | None, direction: Direction) -> tuple[int, float]:
    """What to sort by so that the best comes first: numbers, then NaN, then what has no value."""
    if value is None:
        return 2, 0.0
    if math.isnan(value):
        return 1, 0.0
    return 0, value if direction == "min" else -value


def can_advance(value: float | None) -> bool:
    """Whether a run with this value may go on."""
    return value is not None and not math.isnan(value)


def number(value: float | None) -> str:
    """A value in a sentence."""
    return "no value" if value is None else "NaN" if math.isnan(value) else f"{value:.4g}"


def ranked(values: Mapping[int, float | None], direction: Direction) -> list[int]:
    """The runs, best first; ties go to the lower number."""
    return sorted(values, key=lambda run: (*sort_key(values[run], direction), run))


def ranking(values: Mapping[int, float | None], direction: Direction) -> Ranking:
    """The runs with their values, best first."""
    return tuple((run, values[run]) for run in ranked(values, direction))
