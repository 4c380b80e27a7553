"""Read-only queries of the journal, for the views."""

import json
import math
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from rapidfire_cli.facts import MemoryGiven, reading
from rapidfire_cli.manifest import codec
from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.connection import begun, nothing_yet, reader
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.metadata import Metadata, read_metadata
from rapidfire_cli.terms import DEFAULT_SEED, UNFINISHED, Epoch, Objective, OomRetry, Origin, RunState, Split

RUNS = """
    SELECT number, id, "group", state, epoch, epochs, step, cause, config, seed, replicate, origin, listed
    FROM runs WHERE (listed OR ?) {only} ORDER BY number"""
LAST_METRICS = """
    SELECT run, split, name, value FROM runs CROSS JOIN metrics ON run = number AND metrics.epoch = runs.epoch
    WHERE (listed OR ?) {only}"""
"""CROSS JOIN makes SQLite look up each run's epoch, not read all (10^6 epochs: 0.1 s instead of 0.9 s)."""

BEST_METRICS = """
    WITH top AS (
      SELECT run, split, name, {extreme}(value) AS value
      FROM metrics JOIN runs ON run = number AND metrics.epoch <= runs.epoch
      WHERE split = ? AND name = ? AND (listed OR ?) {only} GROUP BY run),
    first AS (
      SELECT run, min(epoch) AS epoch, value
      FROM metrics JOIN top USING (run, split, name, value) GROUP BY run)
    SELECT run, epoch, first.value, split, name, metrics.value FROM first JOIN metrics USING (run, epoch)"""
"""Where a metric was best first, and what else was measured there; NaN, which is NULL, never is."""

WORKERS_STARTED = "SELECT body FROM events WHERE kind = 'worker_started' ORDER BY seq"
MEMORY_GIVEN = """
    SELECT body FROM events WHERE kind = 'memory_given'
    AND seq > (SELECT max(seq) FROM events WHERE kind = 'runs_packed') ORDER BY seq"""
OPEN_TURNS = """
    SELECT run, slot FROM turns
    WHERE ended IS NULL AND rowid IN (SELECT max(rowid) FROM turns GROUP BY slot)"""
PARTIAL_METRICS = """
    SELECT run, name, value FROM so_far JOIN runs ON run = number AND so_far.epoch = runs.epoch + 1
    WHERE (listed OR ?) {only} AND so_far.step = (
      SELECT max(step) FROM so_far AS each WHERE each.run = so_far.run AND each.epoch = so_far.epoch)"""
ONLY = "AND number IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which runs to read: those that the file asks for, or all, or `only` some of these."""

    unlisted: bool
    only: Collection[int] | None = None

    def of(self, db: sqlite3.Connection, statement: str, *values: object) -> sqlite3.Cursor:
        """Run a statement; `values` are its own parameters, before those that choose runs."""
        if self.only is None:
            return db.execute(statement.replace("{only}", ""), [*values, self.unlisted])
        numbers = json.dumps(sorted(self.only))
        return db.execute(statement.replace("{only}", ONLY), [*values, self.unlisted, numbers])


@dataclass(frozen=True, slots=True)
class Best:
    """The epoch in which a run was best by the objective, the first of equal ones."""

    epoch: int
    value: float  # of the objective's metric
    metrics: Mapping[Split, Mapping[str, float]]  # by split and name


@dataclass(frozen=True)
class RunRow:
    """The current state of a run; `metrics` are those of its last finished epoch, by split and name."""

    number: int
    id: str
    group: int
    state: RunState
    epoch: int  # finished so far
    epochs: int
    step: int
    metrics: Mapping[Split, Mapping[str, float]]
    error: str  # one line; empty if nothing failed
    leaf: str  # JSON of its leaf config
    replicate: int = 0
    partial_metrics: Mapping[str, float] = field(default_factory=dict)  # of the epoch under way, by name
    origin: Origin | None = None  # of a replacement
    seed: int = DEFAULT_SEED
    best: Best | None = None  # None where no finished epoch has a value
    listed: bool = True  # whether the file asks for it
    host: str = ""  # the node of a cluster that trains it now

    @cached_property
    def config(self) -> dict[str, Any]:
        """The leaf config, parsed when it is asked for: of many thousand runs few are."""
        return cast("dict[str, Any]", json.loads(self.leaf))

    def metrics_at(self, epoch: Epoch) -> Mapping[Split, Mapping[str, float]]:
        """The metrics of the last finished epoch, or of the best one."""
        if epoch == "last":
            return self.metrics
        return self.best.metrics if self.best else {}


@dataclass(frozen=True, slots=True)
class Overview:
    """The current state of an experiment."""

    metadata: Metadata
    state: RunState  # running, interrupted, failed, stopped or completed
    rows: tuple[RunRow, ...]
    home: ExperimentDir
    objective: Objective  # by which epochs are the best ones
    given: tuple[MemoryGiven, ...] = ()  # by slots of GPUs that runs share, to runs that ran out of memory


def overview(
    journal: Path,
    alive: bool,
    unlisted: bool = False,
    choose: Callable[[Objective], Objective] = lambda usual: usual,
    only: Collection[int] | None = None,
) -> Overview:
    """Read the experiment's state from its journal; `alive` says whether a process is training it.

    `unlisted` adds the runs that its file no longer asks for; `only` leaves out all runs but these; `choose`
    may put another objective in the place of the experiment's. Raises Refusal where nothing can be read.
    """
    with reader(journal) as db:
        if not begun(db):
            raise Refusal([nothing_yet(journal)])
        known = read_metadata(db)
        objective = choose(known.objective)
        chosen = Chosen(unlisted, only)
        metrics = _last_metrics(db, chosen)
        partial_metrics = _partial_metrics(db, chosen)
        best = _best(db, chosen, objective, metrics.values())
        rows = tuple(_row(found, metrics, partial_metrics, best, alive) for found in chosen.of(db, RUNS))
        if alive and (hosts := _hosts(db)):
            rows = tuple(replace(row, host=hosts.get(row.number, "")) for row in rows)
        state, given = experiment_state(rows, alive), _given(db) if known.packing else ()
        return Overview(known, state, rows, ExperimentDir(journal.parent), objective, given)


def experiment_state(rows: Sequence[RunRow], alive: bool) -> RunState:
    """Running while a process trains it, else interrupted if work is left, else failed or completed.

    It is stopped where all of its runs are.
    What became of a replaced run is told by the one in its place.
    """
    states = {row.state for row in lasting(rows)} - {RunState.DELETED}
    if alive:
        return RunState.RUNNING
    if states & UNFINISHED:
        return RunState.INTERRUPTED
    if RunState.FAILED in states:
        return RunState.FAILED
    return RunState.STOPPED if states == {RunState.STOPPED} else RunState.COMPLETED


def lasting(rows: Iterable[RunRow]) -> list[RunRow]:
    """The runs that were not replaced."""
    every = list(rows)
    replaced = {row.origin.run for row in every if isinstance(row.origin, OomRetry)}
    return [row for row in every if row.number not in replaced]


def origin_of(text: str | None) -> Origin | None:
    """What the column says."""
    return codec.origin_of(json.loads(text)) if text else None


def _last_metrics(db: sqlite3.Connection, chosen: Chosen) -> dict[int, dict[Split, dict[str, float]]]:
    metrics: dict[int, dict[Split, dict[str, float]]] = {}
    for run, split, name, value in chosen.of(db, LAST_METRICS):
        metrics.setdefault(run, {}).setdefault(split, {})[name] = math.nan if value is None else value
    return metrics


def _best(
    db: sqlite3.Connection,
    chosen: Chosen,
    objective: Objective,
    measured: Iterable[Mapping[Split, Mapping[str, float]]],
) -> dict[int, Best]:
    """Each run's best epoch by the objective, read on the split that the ranking reads it on."""
    known: dict[Split, set[str]] = {}
    for splits in measured:
        for split, named in splits.items():
            known.setdefault(split, set()).update(named)
    of = reading(known, objective.metric)
    statement = BEST_METRICS.replace("{extreme}", objective.direction)
    best: dict[int, Best] = {}
    metrics: dict[int, dict[Split, dict[str, float]]] = {}
    for run, epoch, reached, split, name, value in chosen.of(db, statement, *of):
        splits = metrics.setdefault(run, {})
        splits.setdefault(split, {})[name] = math.nan if value is None else value
        best[run] = Best(epoch, reached, splits)
    return best


def _partial_metrics(db: sqlite3.Connection, chosen: Chosen) -> dict[int, dict[str, float]]:
    metrics: dict[int, dict[str, float]] = {}
    for run, name, value in chosen.of(db, PARTIAL_METRICS):
        metrics.setdefault(run, {})[name] = math.nan if value is None else value
    return metrics


def _hosts(db: sqlite3.Connection) -> dict[int, str]:
    """The nodes that train runs now, by run; empty if all train on the controller's machine."""
    started = (json.loads(body) for (body,) in db.execute(WORKERS_STARTED))
    hosts = {each["slot"]: each.get("host", "") for each in started}
    if not any(hosts.values()):
        return {}
    return {run: hosts.get(slot, "") for run, slot in db.execute(OPEN_TURNS)}


def _given(db: sqlite3.Connection) -> tuple[MemoryGiven, ...]:
    """The memory that runs got during the last fit whose runs share GPUs, in order."""
    found = (json.loads(body) for (body,) in db.execute(MEMORY_GIVEN))
    return tuple(MemoryGiven(each["run"], tuple(each["slots"])) for each in found)


def _row(
    found: tuple[Any, ...],
    metrics: Mapping[int, dict[Split, dict[str, float]]],
    partial_metrics: Mapping[int, dict[str, float]],
    best: Mapping[int, Best],
    alive: bool,
) -> RunRow:
    number, id_, group, state, epoch, epochs, step, cause, config, seed, replicate, origin, listed = found
    shown = RunState.INTERRUPTED if state == RunState.RUNNING and not alive else RunState(state)
    last, early = metrics.get(number, {}), partial_metrics.get(number, {})
    return RunRow(
        *(number, id_, group, shown, epoch, epochs, step, last, cause, config, replicate, early),
        origin_of(origin),
        seed,
        best.get(number),
        bool(listed),
    )
