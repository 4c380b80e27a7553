"""What the views ask of a journal; nothing here writes."""

import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.store.about import About, about
from rapidfire_cli.store.connection import begun, reader
from rapidfire_cli.terms import RunState, Split

RUNS = """
    SELECT number, id, "group", state, epoch, epochs, step, cause, config, replicate FROM runs
    WHERE listed OR ? ORDER BY number"""
LAST_METRICS = """
    SELECT run, split, name, value FROM metrics JOIN runs ON run = number AND metrics.epoch = runs.epoch
    WHERE listed OR ?"""

LOSSES = """
    SELECT run, loss FROM turns
    WHERE loss IS NOT NULL AND rowid IN (SELECT max(rowid) FROM turns WHERE at IS NOT NULL GROUP BY run)"""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as it stands; `metrics` are those of its last finished epoch, by split and name."""

    number: int
    id: str
    group: int
    state: RunState
    epoch: int  # finished so far
    epochs: int
    step: int
    metrics: Mapping[Split, Mapping[str, float]]
    error: str  # one line; empty where nothing went wrong
    config: Mapping[str, Any]
    replicate: int = 0
    loss_so_far: float | None = None  # in training, of the epoch under way, when the last turn ended in one


@dataclass(frozen=True, slots=True)
class Overview:
    """An experiment as it stands."""

    about: About
    state: RunState  # running, stopped, completed or failed
    rows: tuple[RunRow, ...]


def overview(journal: Path, alive: bool, unlisted: bool = False) -> Overview:
    """The experiment as its journal tells it; `alive` says whether a process holds it.

    `unlisted` adds the runs that its file no longer asks for. Raises Refusal where nothing can be read.
    """
    with reader(journal) as db:
        if not begun(db):
            raise Refusal([Problem("E602", f"{journal} holds nothing yet", hint="try again in a moment")])
        metrics = _last_metrics(db, unlisted)
        losses = dict(db.execute(LOSSES))
        rows = tuple(_row(found, metrics, losses, alive) for found in db.execute(RUNS, [unlisted]))
        return Overview(about(db), experiment_state(rows, alive), rows)


def experiment_state(rows: Sequence[RunRow], alive: bool) -> RunState:
    """Running while a process holds it; else stopped while work is left, else failed or completed."""
    states = {row.state for row in rows}
    if alive:
        return RunState.RUNNING
    if states & {RunState.QUEUED, RunState.RUNNING, RunState.STOPPED}:
        return RunState.STOPPED
    return RunState.FAILED if RunState.FAILED in states else RunState.COMPLETED


def _last_metrics(db: sqlite3.Connection, unlisted: bool) -> dict[int, dict[Split, dict[str, float]]]:
    metrics: dict[int, dict[Split, dict[str, float]]] = {}
    for run, split, name, value in db.execute(LAST_METRICS, [unlisted]):
        metrics.setdefault(run, {}).setdefault(split, {})[name] = math.nan if value is None else value
    return metrics


def _row(
    found: tuple[Any, ...],
    metrics: Mapping[int, dict[Split, dict[str, float]]],
    losses: Mapping[int, float],
    alive: bool,
) -> RunRow:
    number, id_, group, state, epoch, epochs, step, cause, config, replicate = found
    shown = RunState.STOPPED if state == RunState.RUNNING and not alive else RunState(state)
    last, leaf = metrics.get(number, {}), json.loads(config)
    return RunRow(
        number, id_, group, shown, epoch, epochs, step, last, cause, leaf, replicate, losses.get(number)
    )
