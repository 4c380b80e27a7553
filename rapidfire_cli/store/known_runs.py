"""The runs in the journal and their progress: what `fit` needs to continue."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rapidfire_cli.facts import RunOpened
from rapidfire_cli.store.connection import begun, reader
from rapidfire_cli.store.metadata import read_metadata
from rapidfire_cli.store.queries import origin_of
from rapidfire_cli.store.source import Source
from rapidfire_cli.terms import Run, RunState, WarmStart

RUNS = """
    SELECT runs.number, id, "group", config, seed, replicate, state, durable, epoch, bracket, rule,
           code, data, environment, origin, former,
           warm_start
    FROM runs LEFT JOIN brackets ON bracket = brackets.number ORDER BY runs.number"""


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run in the journal, listed or not, with its number."""

    run: Run
    state: RunState
    durable: int  # ticks that a checkpoint holds
    epoch: int  # finished, and its metrics kept
    bracket: int | None = None  # of early stopping
    rule: str | None = None  # the bracket's, as canonical JSON
    former: RunState | None = None  # of a deleted run that can be restored
    opened: RunOpened | None = None  # what it was last trained with; None if unknown


def known_runs(journal: Path, chunks: int) -> tuple[KnownRun, ...]:
    """Every run ever numbered, by number, with ticks in `chunks` per epoch; empty without a journal."""
    if not journal.is_file():
        return ()
    with reader(journal) as db:
        if not begun(db):
            return ()
        before = read_metadata(db).chunks
        return tuple(_known_run(row, chunks, before) for row in db.execute(RUNS))


@dataclass(frozen=True, slots=True)
class WarmedBy:
    """With which weights a run began: those of another one, at the end of its epoch."""

    run: int | None  # the number of that one; None where the journal does not know it
    id: str
    epoch: int  # 1, 2, …

    def __str__(self) -> str:
        return f"the weights of {f'run {self.run}' if self.run else self.id} after epoch {self.epoch}"


def warmed_by(journal: Path, number: int) -> WarmedBy | None:
    """What the run began with; None where that was no warm start."""
    runs = {one.run.number: one.run for one in known_runs(journal, 1)}
    warm = runs[number].warm_start if number in runs else None
    if warm is None:
        return None
    source = next((run.number for run in runs.values() if run.id == warm.run), None)
    return WarmedBy(source, warm.run, warm.epoch)


def source_of(journal: Path) -> Source | None:
    """The file that the experiment's directory belongs to; None where the journal does not say."""
    if not journal.is_file():
        return None
    with reader(journal) as db:
        return read_metadata(db).source if begun(db) else None


def _warm_start(text: str | None) -> WarmStart | None:
    return WarmStart(**json.loads(text)) if text else None


def _known_run(row: tuple[Any, ...], chunks: int, before: int) -> KnownRun:
    *run, state, durable, epoch, bracket, rule, code, data, environment, origin, former, warm = row
    known = replace(Run(*run), origin=origin_of(origin), warm_start=_warm_start(warm))
    opened = RunOpened(known.number, code, data, environment) if code else None
    reached = durable * chunks // before, epoch
    past = RunState(former) if former else None
    return KnownRun(known, RunState(state), *reached, bracket, rule, past, opened)
