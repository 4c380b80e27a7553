"""What `show` prints: one run, with all that is known about it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, assert_never

from rapidfire_cli.facts import (
    CheckpointDamaged,
    DevicesChanged,
    MemoryGiven,
    RunFailed,
    RunLeft,
    RunReplaced,
    WorkerDied,
    reading,
)
from rapidfire_cli.manifest.knob_paths import dotted, knobs
from rapidfire_cli.store.known_runs import WarmedBy
from rapidfire_cli.store.queries import Overview, RunRow
from rapidfire_cli.store.ranking import Metric, known_metrics
from rapidfire_cli.store.run_record import RunRecord, Trouble, TroubleFact
from rapidfire_cli.store.series import Point
from rapidfire_cli.terms import Clone, Fork, OomRetry, Plain, Proposal
from rapidfire_cli.view.documents import run_document
from rapidfire_cli.view.knob_columns import varied
from rapidfire_cli.view.lines import devices_text
from rapidfire_cli.view.results import in_order
from rapidfire_cli.view.sparkline import sparkline
from rapidfire_cli.view.tables import Column, Table
from rapidfire_cli.view.wording import (
    counted,
    duration_text,
    knob_text,
    metric_text,
    metric_title,
    moment_text,
    numbered,
)

VARIED = "*"
"""The sign of a knob that varies between the experiment's runs."""


@dataclass(frozen=True, slots=True)
class RunPage:
    """A run, and what the journal has about it."""

    seen: Overview
    row: RunRow
    record: RunRecord
    points: Sequence[Point]  # of all its metrics, by epoch
    successor: int | None = None  # the run that took its place
    clones: Sequence[int] = ()
    forks: Sequence[int] = ()
    warm: WarmedBy | None = None  # what it began with


def run_page(page: RunPage) -> Iterator[str | Table[Any]]:
    """The parts of the page, from top to bottom."""
    yield f"run {page.row.number}  {page.row.state}  epoch {page.row.epoch}/{page.row.epochs}"
    yield from map("  ".join, _about(page))
    yield ""
    yield _config(page)
    if page.points:
        yield ""
        yield _curves(page)
    if page.record.troubles:
        yield ""
        yield from map(_trouble, page.record.troubles)


def run_page_document(page: RunPage) -> dict[str, Plain]:
    """The page for programs."""
    record = page.record
    return {
        **run_document(page.row, page.seen),
        "varied": [*varied(page.seen)],
        "successor": page.successor,
        "clones": [*page.clones],
        "forks": [*page.forks],
        "warm_start": asdict(page.warm) if page.warm else None,
        "turns": {
            "count": record.turns,
            "began": record.began,
            "ended": record.ended,
            "trained": record.trained,
            "slots": [*record.slots],
        },
        "environment": dict(record.environment),
        "packing": asdict(packing) if (packing := page.seen.metadata.packing) else None,
        "troubles": [{"at": one.at, "what": _told(one.fact)} for one in record.troubles],
    }


def _about(page: RunPage) -> Iterator[list[str]]:
    row, record = page.row, page.record
    yield [f"id {row.id}", f"group {row.group}", f"seed {row.seed}", f"replicate {row.replicate}"]
    yield [str(page.seen.home.run(row))]
    match row.origin:
        case OomRetry(former):
            yield [f"took the place of run {former}, which ran out of memory"]
        case Clone(parent):
            yield [f"is a clone of run {parent}"]
        case Proposal(_, place):
            yield [f"was proposed as number {place} of its search"]
        case Fork(_, epochs, _, parent, instead):
            yield [f"was forked from run {parent} after epoch {epochs}, in place of run {instead}"]
        case None:
            pass
        case _:
            assert_never(row.origin)
    if page.warm:
        yield [f"began with {page.warm}"]
    if page.clones:
        yield [f"was cloned as {numbered(page.clones)}"]
    if page.forks:
        yield [f"was forked as {numbered(page.forks)}"]
    if page.successor is not None:
        yield [f"ran out of memory; run {page.successor} took its place"]
    if record.began is not None and record.ended is not None:
        each = f"{record.trained / row.epoch:.3g} s per epoch" if row.epoch else ""
        spent = f"trained for {duration_text(record.trained)} in {counted(record.turns, 'turn')}"
        yield [
            f"from {moment_text(record.began)} to {moment_text(record.ended)}",
            *filter(None, (spent, each)),
        ]
    if packing := page.seen.metadata.packing:
        yield [packing.why]


def _config(page: RunPage) -> Table[tuple[str, Plain]]:
    paths = set(varied(page.seen))
    rows = [(dotted(path), value) for path, value in knobs(page.row.config)]
    columns: list[Column[tuple[str, Plain]]] = [
        Column("", lambda knob: VARIED if knob[0] in paths else ""),
        Column("knob", lambda knob: knob[0]),
        Column("value", lambda knob: knob_text(knob[1])),
    ]
    notes = [f"{VARIED} varies between runs"] if any(path in paths for path, _ in rows) else []
    return Table(columns, rows, notes=notes)


def _curves(page: RunPage) -> Table[Metric]:
    values: dict[Metric, list[float]] = {}
    for point in page.points:
        values.setdefault((point.split, point.name), []).append(point.value)
    known = known_metrics([page.row])
    metrics = [
        metric for metric in in_order(known, reading(known, page.seen.objective.metric)) if metric in values
    ]
    columns: list[Column[Metric]] = [
        Column("metric", lambda metric: metric_title(*metric)),
        Column("first", lambda metric: metric_text(values[metric][0]), right=True),
        Column("last", lambda metric: metric_text(values[metric][-1]), right=True),
        Column("least", lambda metric: metric_text(min(values[metric])), right=True, drop_order=2),
        Column("largest", lambda metric: metric_text(max(values[metric])), right=True, drop_order=2),
        Column("curve", lambda metric: sparkline(values[metric]), drop_order=1),
    ]
    return Table(columns, metrics)


def _trouble(trouble: Trouble) -> str:
    return f"{moment_text(trouble.at)}  {_told(trouble.fact)}"


def _told(fact: TroubleFact) -> str:
    match fact:
        case RunFailed(_, kind, cause, step):
            return f"failed ({kind}) at step {step:,}: {cause}"
        case CheckpointDamaged(_, cause):
            return f"skipped a damaged checkpoint: {cause}"
        case DevicesChanged() | MemoryGiven():
            return devices_text(fact)
        case WorkerDied(slot, cause):
            return f"its worker on slot {slot} died: {cause}"
        case RunLeft(_, bracket, cause):
            return f"left bracket {bracket}: {cause}"
        case RunReplaced(_, by):
            return f"replaced by run {by.number}"
        case _:
            assert_never(fact)
