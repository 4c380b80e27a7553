"""What the scheduler hears: facts, and what no worker reports. Past tense, frozen, free of I/O.

A tick is one chunk of one epoch.
"""

from dataclasses import dataclass
from typing import TypeAlias

from rapidfire_cli.facts import EpochEnded, Evicted, RunFailed, Saved, TurnEnded, WorkerDied
from rapidfire_cli.stopping.rule import Policy
from rapidfire_cli.terms import Run


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run as the scheduler knows it."""

    run: int
    goal: int  # ticks
    durable: int = 0  # ticks that a checkpoint holds
    gang: int = 1  # slots that it needs at once
    limit: int | None = None  # ticks that its bracket lets it train to for now
    pruned: bool = False  # its bracket has decided that it ends there


@dataclass(frozen=True, slots=True)
class RunsExpected:
    """So many runs are about to be added: workers may come up meanwhile."""

    count: int


@dataclass(frozen=True, slots=True)
class RunsAdded:
    """More runs wait to be trained; with a policy, which has begun, they are of its bracket.

    With a bracket alone, they join that one.
    """

    runs: tuple[NewRun, ...]
    policy: Policy | None = None
    bracket: int = 0  # 1, 2, …; 0 for none
    metric: str = ""  # that the policy compares


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A slot's worker is up and takes orders."""

    slot: int
    room: int  # bytes for runs at rest


@dataclass(frozen=True, slots=True)
class MemoryRanOut:
    """The run ran out of memory; its slot's worker is gone, and a new one begins with all there is.

    Where it runs out of memory alone, too, the `retry` may take its place.
    """

    slot: int
    run: int
    retry: Run | None = None


@dataclass(frozen=True, slots=True)
class RunStopAsked:
    """A person wants no further turn of this run; once it is durable, it leaves its bracket."""

    run: int


@dataclass(frozen=True, slots=True)
class RunResumeAsked:
    """A person wants a run that ended before its goal trained to it, outside its bracket.

    One that is only about to stop keeps its place in the bracket.
    """

    run: int


@dataclass(frozen=True, slots=True)
class StopAsked:
    """No further turn is wanted; what is trained must become durable."""


Event: TypeAlias = (
    RunsExpected
    | RunsAdded
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
