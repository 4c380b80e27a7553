"""Whole curves: what runs measured, epoch by epoch, and inside epochs where these are trained in chunks."""

import json
import math
import sqlite3
import sys
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rapidfire_cli.store.connection import reader, slowly
from rapidfire_cli.terms import Split

ENDED = """
    SELECT run, epoch, step, split, name, value, 1 FROM metrics
    WHERE (? OR run IN (SELECT value FROM json_each(?))) AND (? OR (split, name) = (?, ?))"""
INSIDE = """
    SELECT run, epoch, step, split, name, value, 0 FROM so_far
    WHERE (? OR run IN (SELECT value FROM json_each(?))) AND (? OR (split, name) = (?, ?))"""
WARM = """
    SELECT runs.number, runs.id, json_extract(warm_start, '$.run'), json_extract(warm_start, '$.epoch')
    FROM runs WHERE warm_start IS NOT NULL"""
ORDERED = "SELECT * FROM ({each}) ORDER BY 1, 2, 7, 3, 4 DESC, 5"
WHOLE = """
    SELECT run, epoch, step, value FROM metrics WHERE split = ? AND name = ? ORDER BY run, epoch"""
BOTH = """
    SELECT run, epoch, step, value, 1 AS ended FROM metrics WHERE split = :split AND name = :name UNION ALL
    SELECT run, epoch + :under_way, step, value, 0 FROM so_far WHERE split = :split AND name = :name
    ORDER BY run, step, ended"""
MANY = "SELECT count(*) FROM so_far WHERE split = ? AND name = ?"
MOST_INSIDE = 1_000_000  # values inside of epochs that charts are given (assumed); else none
UNDER_WAY = 1 << 31  # added to the epoch of such a value
TIMES = """
    SELECT json_extract(body, '$.run'), json_extract(body, '$.epoch'), json_extract(body, '$.step'),
      json_extract(body, '$.seconds') FROM events WHERE kind = 'epoch_ended' ORDER BY 1, 2, seq"""


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
        for run, epoch, step, split, named, value, ended in slowly(
            db, ORDERED.format(each=each), asked * (2 if inside else 1)
        ):
            number = math.nan if value is None else value
            yield Point(run, epoch, step, split, named, number, bool(ended))


@dataclass(frozen=True, slots=True)
class Packed:
    """Many runs' values of one metric, without an object for each: run by run, epoch by epoch."""

    runs: "array[int]"  # (R,) their numbers
    counts: "array[int]"  # (R,) how many points each has
    epochs: "array[int]"  # (N,) those under way with `UNDER_WAY` added
    steps: "array[int]"  # (N,)
    values: "array[float]"  # (N,) single precision, for charts

    def encoded(self) -> bytes:
        """Two counts, R and N, then the arrays; every item has four bytes, the lowest first."""
        parts = (array("I", [len(self.runs), len(self.values)]), self.runs, self.counts)
        return b"".join([_little(each) for each in (*parts, self.epochs, self.steps, self.values)])


def packed(journal: Path, split: Split, name: str) -> Packed:
    """Every value of the metric: at the ends of epochs, and at the ends of turns inside of them.

    Of the latter, `epochs` has the epoch under way with `UNDER_WAY` added. Raises Refusal where nothing can
    be read.
    """
    with reader(journal) as db:
        if 0 < db.execute(MANY, [split, name]).fetchone()[0] <= MOST_INSIDE:
            return _pack(db.execute(BOTH, {"split": split, "name": name, "under_way": UNDER_WAY}))
        return _pack(db.execute(WHOLE, [split, name]))


def packed_times(journal: Path) -> Packed:
    """The seconds that each run had trained at the end of each epoch, in place of a metric's values."""
    with reader(journal) as db:
        return _pack(_summed(db))


def _summed(db: sqlite3.Connection) -> Iterator[tuple[int, int, int, float]]:
    """An epoch that is recorded twice, as a worker reports it again, counts once."""
    last, total = (0, 0), 0.0
    for run, epoch, step, seconds in db.execute(TIMES):
        if (run, epoch) == last:
            continue
        total = seconds + (total if run == last[0] else 0.0)
        last = (run, epoch)
        yield run, epoch, step, total


def _pack(rows: Iterable[tuple[Any, ...]]) -> Packed:
    """Takes whole columns at a time: a loop over a million rows takes longer than reading them."""
    runs, epochs, steps, values, *_ = [*zip(*rows, strict=True)] or [(), (), (), ()]
    counts = Counter(runs)
    known = (math.nan if value is None else value for value in values) if None in values else values
    return Packed(
        array("I", counts),
        array("I", counts.values()),
        array("I", epochs),
        array("I", steps),
        array("f", known),
    )


def _little(items: "array[int] | array[float]") -> bytes:
    if sys.byteorder == "big":
        items = items[:]
        items.byteswap()
    return items.tobytes()


def offsets(journal: Path) -> dict[int, int]:
    """The epochs that were trained before a run began, where it began with another one's weights.

    Those of a clone of a clone are added up. Raises Refusal where nothing can be read.
    """
    with reader(journal) as db:
        rows = db.execute(WARM).fetchall()
    begins = {name: (source, epoch) for _, name, source, epoch in rows}
    found: dict[int, int] = {}
    for number, name, _, _ in rows:
        steps = dict[str, int]()
        while name in begins and name not in steps:
            steps[name] = begins[name][1]
            name = begins[name][0]  # noqa: PLW2901 - follows the chain
        found[number] = sum(steps.values())
    return found
