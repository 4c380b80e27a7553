"""What the page is sent about an experiment: a snapshot at first, then what changed.

Both are the same document; a change has only the runs that something happened to. Runs are sent column by
column, which for 10,000 runs is half as large as an object for each. A document names its own metrics and
knobs, so the page can merge any into what it has.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rapidfire_cli.facts import reading
from rapidfire_cli.manifest.codec import spelt
from rapidfire_cli.manifest.knob_paths import ABSENT, cell
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import Overview, RunRow
from rapidfire_cli.store.ranking import Metric, known_metrics
from rapidfire_cli.store.replicates import together
from rapidfire_cli.store.requests_taken import requests_count
from rapidfire_cli.store.series import Point
from rapidfire_cli.terms import Plain, spoken
from rapidfire_cli.view.knob_columns import short_names, varied
from rapidfire_cli.view.results import in_order


@dataclass(frozen=True, slots=True)
class Position:
    """How much of the journal a document knows."""

    seq: int  # of the last event
    requests: int  # that people made so far
    training: Collection[int]  # the runs that are on a slot now


def document(
    seen: Overview,
    position: Position,
    paths: Sequence[str],
    points: Iterable[Point] = (),
) -> dict[str, Plain]:
    """The runs of `seen` with the knobs at `paths`, at this position of the journal.

    `points` are what they measured since the last document.
    """
    known = known_metrics(seen.rows)
    split, name = reading(known, seen.objective.metric)
    metrics = [metric for metric in in_order(known, (split, name)) if metric[1] in known.get(metric[0], ())]
    objective = seen.objective
    return {
        "seq": position.seq,
        "requests": position.requests,
        "experiment": seen.metadata.experiment,
        "directory": str(seen.home.path),
        "state": str(seen.state),
        "objective": {
            "metric": name,
            "split": split,
            "direction": objective.direction,
            "at": objective.at,
        },
        "metrics": [[*metric] for metric in metrics],
        "knobs": [[path, short] for path, short in zip(paths, short_names(paths), strict=True)],
        "runs": _columns(seen.rows, metrics, paths, position.training),
        "points": _points(points),
    }


def snapshot(home: ExperimentDir, seen: Overview) -> dict[str, Plain]:
    """The document of all runs, for a page that will not be sent any change."""
    return document(seen, Position(0, requests_count(home.journal), ()), varied(seen))


def _columns(
    rows: Sequence[RunRow], metrics: Sequence[Metric], paths: Sequence[str], training: Collection[int]
) -> dict[str, Plain]:
    configs: list[Any] = [row.config if paths else {} for row in rows]
    return {
        "number": [row.number for row in rows],
        "id": [row.id for row in rows],
        "group": [row.group for row in rows],
        "state": [str(row.state) for row in rows],
        "epoch": [row.epoch for row in rows],
        "epochs": [row.epochs for row in rows],
        "step": [row.step for row in rows],
        "seed": [row.seed for row in rows],
        "replicate": [row.replicate for row in rows],
        "leaf": _leaves(rows),
        "listed": [row.listed for row in rows],
        "training": [row.number in training for row in rows],
        "error": [row.error for row in rows],
        "origin": [spelt(row.origin) if row.origin else None for row in rows],
        "partial": [{name: spoken(value) for name, value in row.partial_metrics.items()} for row in rows],
        "best": [[row.best.epoch, spoken(row.best.value)] if row.best else None for row in rows],
        "metrics": [[_value(row.metrics, metric) for row in rows] for metric in metrics],
        "knobs": [[_knob(config, path) for config in configs] for path in paths],
    }


def _leaves(rows: Sequence[RunRow]) -> list[Plain]:
    """For each run the number of the first one with the same leaf config: replicates share it."""
    first = {row.number: same[0].number for same in together(rows) for row in same}
    return [first[row.number] for row in rows]


def _value(metrics: Mapping[str, Mapping[str, float]], metric: Metric) -> Plain:
    split, name = metric
    value = metrics.get(split, {}).get(name)
    return value if value is None or math.isfinite(value) else spoken(value)


def _knob(config: Mapping[str, Plain], path: str) -> Plain:
    """The knob's value in a list of its own, as a run may have null, or lack the knob."""
    value = cell(config, path)
    return [] if value is ABSENT else [value]


def _points(points: Iterable[Point]) -> list[Plain]:
    return [
        [point.run, point.epoch, point.step, point.split, point.name, spoken(point.value)] for point in points
    ]
