"""The board: the state of an experiment during training, updated by each fact."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

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
)
from rapidfire_cli.store.metadata import Metadata
from rapidfire_cli.store.queries import RunRow
from rapidfire_cli.store.ranking import known_metrics
from rapidfire_cli.terms import TRAIN, Clone, RunState, Split
from rapidfire_cli.view.knob_columns import changed, changed_by_clones, knob_value

UNFINISHED_STATES = frozenset({RunState.QUEUED, RunState.RUNNING})


@dataclass(slots=True)
class Line:
    """A run on the board; progress is in ticks."""

    number: int
    epochs: int
    knobs: tuple[str, ...]  # those of the board's paths
    state: RunState
    epoch: int = 0  # finished so far
    at: int = 0
    durable: int = 0
    metrics: Mapping[Split, Mapping[str, float]] = field(default_factory=dict)
    partial_metrics: Mapping[str, float] = field(default_factory=dict)  # of the epoch under way, by name
    cause: str = ""
    slot: int | None = None  # where it trained last
    training: bool = False
    seconds: float = 0.0  # its epochs took, as far as they were seen
    timed: int = 0  # epochs that were seen
    turned: int = 0  # where its last turn ended, in ticks
    leaf: str = "{}"  # JSON of its leaf config, for knobs that a later clone changes


@dataclass(slots=True)
class Board:
    """All runs, and the workers that train them."""

    metadata: Metadata
    lines: dict[int, Line]
    paths: tuple[str, ...]  # of the knobs that vary, those that only clones change included
    workers: set[int] = field(default_factory=set)  # slots
    ended: list[int] = field(default_factory=list)  # runs, in the order in which they ended
    spans: dict[int, tuple[float, float]] = field(default_factory=dict)  # first turn to last, by slot
    ticks: int = 0  # trained in these spans
    known: dict[Split, dict[str, None]] = field(default_factory=dict)  # names of metrics, by split


def board(metadata: Metadata, rows: Iterable[RunRow]) -> Board:
    """The board before the first fact."""
    listed = tuple(rows)
    paths = tuple(dict.fromkeys((*metadata.varied, *changed_by_clones(listed))))
    lines = {row.number: _line(metadata, paths, row) for row in listed}
    return Board(metadata, lines, paths, known=known_metrics(listed))


def fold(board: Board, fact: Fact, now: float = 0.0) -> None:
    """Let the board know one more fact, at this time of a clock in seconds."""
    match fact:
        case WorkerStarted(slot):
            board.workers.add(slot)
        case WorkerDied(slot):
            _lose(board, slot)
        case TurnStarted(run, slot):
            line = board.lines[run]
            line.slot, line.training = slot, True
            board.spans.setdefault(slot, (now, now))
        case EpochEnded(run):
            _progress(board, board.lines[run], fact)
        case Saved(run, at):
            board.lines[run].durable = at
        case TurnEnded(run, slot, at, _, metrics):
            line = board.lines[run]
            board.spans[slot] = board.spans.get(slot, (now, now))[0], now
            board.ticks += max(at - line.turned, 0)
            line.turned = at
            line.at, line.training, line.partial_metrics = at, False, by_split(metrics).get(TRAIN, {})
        case RunAdmitted(run):
            leaf = run.leaf
            if isinstance(run.origin, Clone) and (parent := board.lines.get(run.origin.run)):
                _widen(board, changed(leaf, json.loads(parent.leaf)))
            knobs = tuple(knob_value(leaf, path) for path in board.paths)
            born = Line(run.number, leaf["train"]["epochs"], knobs, RunState.QUEUED, leaf=run.config)
            board.lines[run.number] = born
        case RunChanged(run):
            _settle(board, board.lines[run], fact)
        case RunOpened() | RunFailed() | RunPurged() | CheckpointDamaged() | DevicesChanged():
            pass
        case RunsPacked() | MemoryGiven():
            pass
        case RunReplaced() | BracketBegun() | RunJoined() | RunLeft() | Decision() | RequestTaken():
            pass
        case _:
            assert_never(fact)


def _widen(board: Board, paths: Iterable[str]) -> None:
    """Let the board have the knobs of these paths, too."""
    new = tuple(path for path in paths if path not in board.paths)
    board.paths += new
    for line in board.lines.values() if new else ():
        leaf = json.loads(line.leaf)
        line.knobs += tuple(knob_value(leaf, path) for path in new)


def _line(metadata: Metadata, paths: Sequence[str], row: RunRow) -> Line:
    at = row.epoch * metadata.chunks
    knobs = tuple(knob_value(row.config, path) for path in paths)
    return Line(
        row.number,
        row.epochs,
        knobs,
        row.state,
        row.epoch,
        at,
        at,
        row.metrics,
        row.partial_metrics,
        row.error,
        turned=at,
        leaf=row.leaf,
    )


def _progress(board: Board, line: Line, fact: EpochEnded) -> None:
    line.epoch = max(line.epoch, fact.epoch)
    line.at = fact.epoch * board.metadata.chunks
    line.metrics, line.partial_metrics = by_split(fact.metrics), {}
    for split, named in line.metrics.items():
        board.known.setdefault(split, {}).update(dict.fromkeys(named))
    line.seconds += fact.seconds
    line.timed += 1


def _settle(board: Board, line: Line, fact: RunChanged) -> None:
    line.state, line.cause = fact.state, fact.cause
    if fact.state not in UNFINISHED_STATES:
        line.training = False
        board.ended.append(line.number)


def _lose(board: Board, slot: int) -> None:
    """A dead worker takes along what its runs had not made durable."""
    board.workers.discard(slot)
    for line in board.lines.values():
        if line.slot == slot and line.state in UNFINISHED_STATES:
            line.at, line.training, line.partial_metrics = line.durable, False, {}
