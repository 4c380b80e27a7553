"""Whole curves: what runs measured, epoch by epoch, and inside epochs where these are trained in chunks."""

import json
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from rapidfire_cli.store.connection import reader
from rapidfire_cli.terms import Split

ENDED = """
    SELECT run, epoch, step, split, name, value, 1 FROM metrics
    WHERE (? OR run IN (SELECT value FROM json_each(?))) AND (? OR (split, name) = (?, ?))"""
INSIDE = """
    SELECT run, epoch, step, split, name, value, 0 FROM so_far
    WHERE (? OR run IN (SELECT value FROM json_each(?))) AND (? OR (split, name) = (?, ?))"""
ORDERED = "SELECT * FROM ({each}) ORDER BY 1, 2, 7, 3, 4 DESC, 5"


@dataclass(frozen=True, slots=True)
class Point:
    """A metric of a run at one moment."""

    run: int
    epoch: int  # that ended, or was under way
    step: int  # optimizer steps until then
    split: Split
    name: str
    value: float  # may be NaN
    ended: bool = True  # whether the epoch had; else it is the metric of the epoch so far


def points(
    journal: Path,
    runs: Collection[int] | None = None,
    metric: tuple[Split, str] | None = None,
    inside: bool = False,
) -> Iterator[Point]:
    """The values of one metric, or of all, of these runs, or of all: by run, epoch and step.

    `inside` adds those at the ends of turns inside an epoch. Raises Refusal where nothing can be read.
    """
    chosen = (runs is None, json.dumps(sorted(runs or ())))
    asked = (*chosen, metric is None, *(metric or (None, None)))
    each = f"{ENDED} UNION ALL {INSIDE}" if inside else ENDED
    with reader(journal) as db:
        for run, epoch, step, split, named, value, ended in db.execute(
            ORDERED.format(each=each), asked * (2 if inside else 1)
        ):
            number = math.nan if value is None else value
            yield Point(run, epoch, step, split, named, number, bool(ended))
