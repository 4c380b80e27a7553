"""What is to be done, as the scheduler says it: imperative, frozen, free of I/O."""

from dataclasses import dataclass
from typing import TypeAlias

from rapidfire_cli.facts import Decision
from rapidfire_cli.terms import Run


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Start a worker on the slot."""

    slot: int


@dataclass(frozen=True, slots=True)
class Train:
    """Give the gang a turn: take the runs to the tick `until`."""

    slots: tuple[int, ...]
    runs: tuple[int, ...]
    until: int


@dataclass(frozen=True, slots=True)
class Evict:
    """Make the run durable and let go of it, once the gang's turn is over."""

    slots: tuple[int, ...]
    run: int


@dataclass(frozen=True, slots=True)
class EndTurn:
    """End the gang's turn at the next optimizer step, durably."""

    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Decide:
    """Keep the decision in the ledger."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class Complete:
    """The run reached its goal."""

    run: int


@dataclass(frozen=True, slots=True)
class Prune:
    """A decision ended the run."""

    run: int


@dataclass(frozen=True, slots=True)
class Leave:
    """The run was stopped and leaves its bracket, which ranks it worst from now on."""

    run: int
    bracket: int


@dataclass(frozen=True, slots=True)
class Stop:
    """The run is stopped, as a person asked."""

    run: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The run took too many workers down with it."""

    run: int


@dataclass(frozen=True, slots=True)
class Replace:
    """The run ran out of memory; admit another one, which takes its place.

    Where that one trains `apart` from the bracket, as its origin says, the bracket counts the run as failed.
    """

    run: int
    by: Run
    bracket: int | None = None  # that the run is of


Action: TypeAlias = (
    StartWorker | Train | Evict | EndTurn | Decide | Leave | Complete | Prune | Stop | GiveUp | Replace
)
