"""The scheduler's actions: what the driver must do. They are imperative, frozen and free of I/O."""

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
    """Give the gang a turn: train the runs up to the tick `until`."""

    slots: tuple[int, ...]
    runs: tuple[int, ...]
    until: int


@dataclass(frozen=True, slots=True)
class Evict:
    """Save the run and remove it from its worker, after the gang's current turn."""

    slots: tuple[int, ...]
    run: int


@dataclass(frozen=True, slots=True)
class EndTurn:
    """End the gang's turn at the next optimizer step, and save a checkpoint."""

    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Decide:
    """Record the decision in the ledger."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class Complete:
    """Record that the run reached its goal."""

    run: int


@dataclass(frozen=True, slots=True)
class Prune:
    """Record that a decision ended the run."""

    run: int


@dataclass(frozen=True, slots=True)
class Leave:
    """Record that a stopped run leaves its bracket, which ranks it worst from now on."""

    run: int
    bracket: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Record that the run is stopped, as requested."""

    run: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Record that the run failed because too many workers died while they trained it."""

    run: int


@dataclass(frozen=True, slots=True)
class Replace:
    """Admit a replacement for a run that ran out of memory.

    If the replacement trains `apart` from the bracket, as its origin says, the bracket counts the run as
    failed.
    """

    run: int
    by: Run
    bracket: int | None = None  # the run's bracket


Ending: TypeAlias = Complete | Prune | Stop | GiveUp | Replace
"""What becomes of a run that ends."""

Action: TypeAlias = StartWorker | Train | Evict | EndTurn | Decide | Leave | Ending
