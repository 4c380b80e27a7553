"""Which runs the table shows: a condition on knobs, metrics and states, or states by their names."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeAlias

from rapidfire_cli.facts import reading
from rapidfire_cli.manifest.filters.evaluate import Answer, question
from rapidfire_cli.manifest.knob_paths import ABSENT, cell, dotted, knobs
from rapidfire_cli.problems import SourceName, Span
from rapidfire_cli.store.queries import RunRow
from rapidfire_cli.syntax.conditions.located import Known, understood
from rapidfire_cli.syntax.conditions.tree import knobs as named_in
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.knob_columns import short_names
from rapidfire_cli.view.top.watched import Watched

Read: TypeAlias = Callable[[RunRow], Answer]

FILTER = "filter"
STATES = {str(state): state for state in RunState}


class Choosing:
    """Understands what people type after `/`."""

    def __init__(self, known: Watched) -> None:
        self._known = known
        self._reads = _reads(known)

    def chooser(self, text: str) -> Callable[[RunRow], bool]:
        """Whether a run is shown. Raises Refusal, located in the text."""
        words = text.split()
        if words and all(word in STATES for word in words):
            return lambda row: str(self._known.state_of(row)) in words
        span = Span(SourceName(FILTER, text), 1, 1, max(1, len(text)))
        condition = understood(text, span, Known(frozenset(self._reads), frozenset()))
        names = tuple(dict.fromkeys(knob.path for knob in named_in(condition)))
        ask = question(condition, {name: place for place, name in enumerate(names)})
        reads = [self._reads[name] for name in names]
        return lambda row: ask([read(row) for read in reads]) is True


def _reads(known: Watched) -> Mapping[str, Read]:
    """What conditions can name, and how it is read of a run; what comes later wins."""
    paths = _paths(known.rows.values())
    ends = zip(short_names(paths), paths, strict=True)
    reads: dict[str, Read] = {
        "run": lambda row: row.number,
        "state": lambda row: str(known.state_of(row)),
        "epoch": lambda row: row.epoch,
        "seed": lambda row: row.seed,
    }
    reads.update((end, partial(_knob, path)) for end, path in ends)
    for split, names in known.known.items():
        for name in names:
            reads[f"{split}.{name}"] = partial(_metric, split, name)
            if reading(known.known, name) == (split, name):
                reads[name] = partial(_metric, split, name)
    reads.update((path, partial(_knob, path)) for path in paths)
    return reads


def _paths(rows: Iterable[RunRow]) -> list[str]:
    found: dict[str, None] = {}
    for row in rows:
        found.update(dict.fromkeys(dotted(path) for path, _ in knobs(row.config)))
    return [*found]


def _knob(path: str, row: RunRow) -> Answer:
    return cell(row.config, path)


def _metric(split: str, name: str, row: RunRow) -> Answer:
    return row.metrics.get(split, {}).get(name, ABSENT)
