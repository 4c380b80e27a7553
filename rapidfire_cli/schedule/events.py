"""The scheduler's events: facts, and events that no worker reports. In past tense, frozen, free of I/O.

A tick is one chunk of one epoch.
"""

from dataclasses import dataclass
from typing import TypeAlias

from rapidfire_cli.facts import EpochEnded, Evicted, RunFailed, Saved, TurnEnded, WorkerDied
from rapidfire_cli.stopping.rule import Policy
from rapidfire_cli.terms import Run


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run that is added to the scheduler."""

    run: int
    goal: int  # ticks
    durable: int = 0  # ticks that a checkpoint holds
    gang: int = 1  # slots that it needs at once
    limit: int | None = None  # ticks to which its bracket currently lets it train
    pruned: bool = False  # its bracket has decided that it ends there


@dataclass(frozen=True, slots=True)
class RunsExpected:
    """`count` runs will be added soon, so workers can be started now."""

    count: int


@dataclass(frozen=True, slots=True)
class RunsAdded:
    """Runs were added. With a policy, which was already started, they form its bracket.

    With a bracket and no policy, they join an existing bracket.
    """

    runs: tuple[NewRun, ...]
    policy: Policy | None = None
    bracket: int = 0  # 1, 2, …; 0 for none
    metric: str = ""  # the metric that the policy compares


@dataclass(frozen=True, slots=True)
class SlotsAdded:
    """A machine offers `count` slots, which are numbered on from those there were."""

    count: int


@dataclass(frozen=True, slots=True)
class SlotsWithdrawn:
    """A machine takes its slots back, or is gone: its runs move elsewhere, and nothing starts there again."""

    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A slot's worker has started and accepts orders."""

    slot: int
    room: int  # bytes for waiting runs


@dataclass(frozen=True, slots=True)
class MemoryRanOut:
    """A run ran out of memory; its slot's worker has ended, so that a new one starts with all memory free.

    If the run was alone on its slot, the `retry` may replace it. But if the run's slots have more memory from
    now on, because other slots of the same GPUs are `withdrawn` and their workers have ended, it is tried
    again.
    """

    slot: int
    run: int
    retry: Run | None = None
    withdrawn: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RunStopAsked:
    """A person asked to stop a run: it gets no further turn, and leaves its bracket once it is durable."""

    run: int


@dataclass(frozen=True, slots=True)
class RunResumeAsked:
    """A person asked to train a run that ended before its goal up to the goal, outside its bracket.

    A run that is about to stop keeps its place in the bracket.
    """

    run: int


@dataclass(frozen=True, slots=True)
class StopAsked:
    """A person asked to stop all training: no run gets another turn, and every run must become durable."""


Event: TypeAlias = (
    RunsExpected
    | RunsAdded
    | SlotsAdded
    | SlotsWithdrawn
    | WorkerReady
    | WorkerDied
    | MemoryRanOut
    | EpochEnded
    | TurnEnded
    | Saved
    | Evicted
    | RunFailed
    | RunStopAsked
    | RunResumeAsked
    | StopAsked
)
