"""What the terminal app knows about an experiment: an overview that each look at the journal updates."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, assert_never

from rapidfire_cli.facts import (
    BracketBegun,
    CheckpointDamaged,
    Decision,
    DevicesChanged,
    EpochEnded,
    Fact,
    MemoryGiven,
    RequestTaken,
    RunAdmitted,
    RunChanged,
    RunFailed,
    RunJoined,
    RunLeft,
    RunOpened,
    RunPurged,
    RunReplaced,
    RunsPacked,
    Saved,
    TurnEnded,
    TurnStarted,
    WorkerDied,
    WorkerStarted,
    by_split,
    reading,
)
from rapidfire_cli.store.feed import News, Turn
from rapidfire_cli.store.history import Ledger
from rapidfire_cli.store.queries import Best, Overview, RunRow, experiment_state, lasting
from rapidfire_cli.store.ranking import Metric, ranking, sort_key
from rapidfire_cli.terms import Epoch, Run, RunState, Split
from rapidfire_cli.view.lines import devices_text


@dataclass(slots=True)
class SlotLine:
    """A slot: its worker, and what it trains."""

    slot: int
    pid: int = 0
    device: str = ""
    cause: str = ""  # why the worker ended; empty while it lives
    run: int | None = None  # that trains there now
    since: float | None = None  # of a monotonic clock, in seconds; None where that was not seen


@dataclass(slots=True)
class Told:
    """What happened, in one line, and when."""

    at: float
    text: str


@dataclass
class Watched:
    """The runs by number, the slots, and the decisions of early stopping.

    The rows have the states of the journal: `state_of` is interrupted for a run that no process trains.
    """

    seen: Overview  # when it was read
    alive: bool  # whether a process trains it
    ledger: list[Ledger] = field(default_factory=list)
    slots: dict[int, SlotLine] = field(default_factory=dict)
    rows: dict[int, RunRow] = field(init=False)
    known: dict[Split, dict[str, None]] = field(init=False)
    _decided: set[Ledger] = field(init=False)
    stale: bool = False  # a fit has begun: what it asks for is to be read again

    def __post_init__(self) -> None:
        self.rows = {row.number: row for row in self.seen.rows}
        self.known = {}
        self._decided = {*self.ledger}
        for row in self.seen.rows:
            self._know(row.metrics)

    @cached_property
    def measured(self) -> Metric:
        """The objective's metric, where it is measured."""
        return reading(self.known, self.seen.objective.metric)

    def overview(self) -> Overview:
        """The experiment as it is now."""
        rows = tuple(
            row if (state := self.state_of(row)) is row.state else replaced(row, state=state)
            for row in self.rows.values()
        )
        return replace(self.seen, rows=rows, state=experiment_state(rows, self.alive))

    def state_of(self, row: RunRow) -> RunState:
        """The run's state; a running one is interrupted if no process trains the experiment."""
        return RunState.INTERRUPTED if row.state is RunState.RUNNING and not self.alive else row.state

    def best(self) -> frozenset[int]:
        """The best run, with its replicates; empty while none has a value."""
        objective = self.seen.objective
        if any(row.replicate for row in self.rows.values()):
            first = next(iter(ranking([*self.rows.values()], objective)), None)
            found = first if first and first.value and not first.failed else None
            return frozenset(row.number for row in found.rows) if found else frozenset()
        split, name = self.measured
        merits = (
            (*sort_key(row.state, valued(row, split, name, objective.at), objective.direction), row.number)
            for row in lasting(self.rows.values())
            if row.state is not RunState.DELETED
        )
        rank, _, number = min(merits, default=(1, 0.0, 0))
        return frozenset({number}) if rank == 0 else frozenset()

    def training(self) -> frozenset[int]:
        """The runs that train at this moment."""
        return frozenset(line.run for line in self.slots.values() if line.run is not None and self.alive)

    def take(self, news: News, now: float | None = None) -> list[Told]:
        """Update from what was recorded until `now`, in seconds of a clock; return lines worth showing."""
        told = []
        for event in news.events:
            self._fold(event.fact)
            told += [Told(event.at, line) for line in told_lines(event.fact)]
        for turn in news.turns:
            self.turn(turn, now)
        return told

    def turn(self, turn: Turn, now: float | None = None) -> None:
        """Update from a turn that has begun or ended at `now`, in seconds of a clock."""
        line = self.slots.setdefault(turn.slot, SlotLine(turn.slot))
        if turn.ended is None:
            line.run, line.since = turn.run, now
        elif line.run == turn.run:
            line.run = None
        if turn.ended is not None:
            self._change(turn.run, partial_metrics=turn.metrics)

    def worker(self, fact: WorkerStarted | WorkerDied) -> None:
        """Update from the start or the death of a worker."""
        line = self.slots.setdefault(fact.slot, SlotLine(fact.slot))
        match fact:
            case WorkerStarted(_, pid, device):
                line.pid, line.device, line.cause, line.run = pid, device, "", None
            case WorkerDied(_, cause):
                line.pid, line.cause, line.run = 0, cause, None
            case _:
                assert_never(fact)

    def _fold(self, fact: Fact) -> None:
        match fact:
            case EpochEnded():
                self._epoch_ended(fact)
            case RunChanged(run, state, cause):
                self._change(run, state=state, error=cause)
            case RunAdmitted(run):
                self.rows.setdefault(run.number, _born(run))
            case WorkerStarted() | WorkerDied():
                self.stale |= isinstance(fact, WorkerStarted) and not any(
                    line.pid for line in self.slots.values()
                )
                self.worker(fact)
            case BracketBegun() | RunJoined() | RunLeft() | RunReplaced() | Decision():
                if fact not in self._decided:  # what was recorded while everything was read comes twice
                    self._decided.add(fact)
                    self.ledger.append(fact)
            case RunOpened() | RunFailed() | RunPurged() | CheckpointDamaged() | Saved():
                pass
            case RunsPacked() | MemoryGiven() | DevicesChanged():
                pass
            case TurnStarted() | TurnEnded() | RequestTaken():  # these have tables of their own
                pass
            case _:
                assert_never(fact)

    def _epoch_ended(self, fact: EpochEnded) -> None:
        row = self.rows.get(fact.run)
        if row is None or fact.epoch < row.epoch:
            return
        metrics = by_split(fact.metrics)
        self._know(metrics)
        split, name = self.measured
        value, best = metrics.get(split, {}).get(name), row.best
        if value is not None and not math.isnan(value) and (best is None or self._beats(value, best)):
            best = Best(fact.epoch, value, metrics)
        reached = {"epoch": fact.epoch, "step": fact.step, "metrics": metrics, "best": best}
        self._change(fact.run, **reached, partial_metrics={})

    def _beats(self, value: float, best: Best) -> bool:
        return value < best.value if self.seen.objective.direction == "min" else value > best.value

    def _change(self, run: int, **values: Any) -> None:
        if run in self.rows:  # else the file no longer asks for it
            self.rows[run] = replaced(self.rows[run], **values)

    def _know(self, metrics: Any) -> None:
        for split, named in metrics.items():
            fresh = split not in self.known
            self.known.setdefault(split, {}).update(dict.fromkeys(named))
            if fresh:
                self.__dict__.pop("measured", None)


def valued(row: RunRow, split: Split, name: str, at: Epoch) -> float | None:
    """The run's value of a metric, at its last finished epoch or its best."""
    return row.metrics_at(at).get(split, {}).get(name)


def replaced(row: RunRow, **values: Any) -> RunRow:
    """The row with other values; its config stays parsed."""
    new = replace(row, **values)
    if "config" in row.__dict__:
        new.__dict__["config"] = row.__dict__["config"]
    return new


def told_lines(fact: Fact) -> Iterator[str]:
    """A line for each fact about trouble: a failure, a dead worker, other devices, a damaged checkpoint."""
    if isinstance(fact, RunFailed):
        yield f"run {fact.run} failed at step {fact.step:,}: {fact.cause}"
    elif isinstance(fact, RunReplaced):
        yield f"run {fact.run} ran out of memory; run {fact.by.number} takes its place"
    elif isinstance(fact, WorkerDied):
        yield f"the worker on slot {fact.slot} died: {fact.cause}"
    elif isinstance(fact, DevicesChanged | MemoryGiven):
        yield f"run {fact.run} {devices_text(fact)}"
    elif isinstance(fact, CheckpointDamaged):
        yield f"skipped a damaged checkpoint of run {fact.run}: {fact.cause}"


def _born(run: Run) -> RunRow:
    return RunRow(
        *(run.number, run.id, run.group, RunState.QUEUED, 0, run.leaf["train"]["epochs"], 0, {}, ""),
        run.config,
        run.replicate,
        origin=run.origin,
        seed=run.seed,
    )


def watched(
    seen: Overview,
    alive: bool,
    ledger: Iterable[Ledger],
    workers: Iterable[WorkerStarted | WorkerDied],
    turns: Iterable[Turn],
) -> Watched:
    """What is known before the first look; workers and turns count only while a process trains."""
    known = Watched(seen, alive, [*ledger])
    if alive:
        for fact in workers:
            known.worker(fact)
        for turn in turns:
            if turn.ended is None and turn.slot in known.slots and known.slots[turn.slot].pid:
                known.turn(turn)
    return known
