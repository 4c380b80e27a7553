"""What happened, as the scheduler hears it: past tense, frozen, free of I/O.

A tick is one chunk of one epoch.
"""

from dataclasses import dataclass
from typing import TypeAlias

from rapidfire_cli.stopping.bracket import EpochEnded
from rapidfire_cli.stopping.rule import Policy


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
    """More runs wait to be trained; with a policy, which has begun, they are of its bracket."""

    runs: tuple[NewRun, ...]
    policy: Policy | None = None
    bracket: int = 0  # 1, 2, … with a policy


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A slot's worker is up and takes orders."""

    slot: int
    room: int  # bytes for runs at rest


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """A slot's worker is gone, and with it whatever was resident and not durable."""

    slot: int


@dataclass(frozen=True, slots=True)
class MemoryRanOut:
    """The run ran out of memory; its slot's worker is gone, and a new one begins with all there is.

    Where it runs out of memory alone, too, a run may take its place `instead`.
    """

    slot: int
    run: int
    instead: NewRun | None = None


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The gang's turn is over; its runs stand at `at` ticks and hold `size` bytes each at rest."""

    slots: tuple[int, ...]
    runs: tuple[int, ...]
    at: int
    size: int = 0


@dataclass(frozen=True, slots=True)
class RunSaved:
    """A checkpoint holds the run's first `at` ticks; it may have been taken while the run waits."""

    run: int
    at: int


@dataclass(frozen=True, slots=True)
class RunEvicted:
    """The run is durable at `at` and resident nowhere."""

    run: int
    at: int


@dataclass(frozen=True, slots=True)
class RunFailed:
    """The run raised: trying again would raise again."""

    run: int


@dataclass(frozen=True, slots=True)
class RunStopAsked:
    """A person wants no further turn of this run; it leaves its bracket."""

    run: int


@dataclass(frozen=True, slots=True)
class RunResumeAsked:
    """A person wants a stopped or pruned run trained to its goal, outside its bracket."""

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
    | RunSaved
    | RunEvicted
    | RunFailed
    | RunStopAsked
    | RunResumeAsked
    | StopAsked
)
