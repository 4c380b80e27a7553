"""The replicates of one leaf config, taken together."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from rapidfire_cli.store.queries import RunRow
from rapidfire_cli.terms import Epoch, RunState, Split


@dataclass(frozen=True, slots=True)
class Spread:
    """A metric over replicates that did not fail, each at its last finished epoch or at its best."""

    mean: float  # NaN where one of them is
    deviation: float | None  # of a sample: divided by one less than there are; None for a single value
    runs: tuple[int, ...]  # the replicates that have a value, by number

    @property
    def count(self) -> int:
        return len(self.runs)


def together(rows: Sequence[RunRow]) -> list[tuple[RunRow, ...]]:
    """Group runs by leaf config, in the order of their first run."""
    if not any(row.replicate for row in rows):
        return [(row,) for row in rows]
    by_leaf: dict[tuple[int, str], list[RunRow]] = {}
    for row in rows:
        by_leaf.setdefault((row.group, row.leaf), []).append(row)
    return [tuple(found) for found in by_leaf.values()]


def spread(rows: Iterable[RunRow], split: Split, name: str, at: Epoch = "last") -> Spread | None:
    """The spread of the metric over these replicates; None if none of them has it."""
    counting = [row for row in rows if row.state is not RunState.FAILED]
    found = {row.number: row.metrics_at(at).get(split, {}).get(name) for row in counting}
    known = {number: value for number, value in found.items() if value is not None}
    if not known:
        return None
    values, runs = [*known.values()], tuple(known)
    if not all(map(math.isfinite, values)):
        return Spread(sum(values) / len(values), math.nan if len(values) > 1 else None, runs)
    return Spread(fmean(values), stdev(values) if len(values) > 1 else None, runs)
