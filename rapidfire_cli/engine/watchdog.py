"""The watchdog: finds turns that hang."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rapidfire_cli.engine.ports import Worker

PERIOD = 0.1  # seconds between two checks (assumed)
LONGEST = 1.0  # seconds that count between two checks: a suspended controller saw no hang (assumed)
DUMPING = 1.0  # seconds for a hanging worker to write its stack traces (assumed)


@dataclass(slots=True)
class Turn:
    """A running turn."""

    run: int
    worker: Worker
    marks: int
    patient: bool  # until its first step: opening a run may take long
    still: float = 0.0  # seconds without progress
    dumped: bool = False


@dataclass(slots=True)
class Watchdog:
    """Watches one turn per slot; `hang_timeout` is in seconds without progress, None means no limit."""

    hang_timeout: float | None
    clock: Callable[[], float]
    turns: dict[int, Turn] = field(default_factory=dict)  # by slot
    opened: dict[int, set[int]] = field(default_factory=dict)  # runs that moved in a worker, by slot
    looked: float = 0.0

    def begin(self, slot: int, worker: Worker, run: int) -> None:
        """A turn begins."""
        marks, patient = worker.heartbeat().marks, run not in self.opened.setdefault(slot, set())
        self.turns[slot] = Turn(run, worker, marks, patient)

    def end(self, slot: int) -> None:
        """The slot's turn is over."""
        if turn := self.turns.pop(slot, None):
            self.opened[slot].add(turn.run)

    def close(self, run: int) -> None:
        """The run is not in memory any more."""
        for opened in self.opened.values():
            opened.discard(run)

    def lose(self, slot: int) -> Turn | None:
        """The slot's worker is gone; the turn that it was in."""
        self.opened.pop(slot, None)
        return self.turns.pop(slot, None)

    def look(self) -> Iterator[tuple[int, str]]:
        """Check now and then: the slots whose workers hang and had time to write their stack traces."""
        passed = self.clock() - self.looked
        if passed < PERIOD:
            return
        self.looked += passed
        for slot, turn in [*self.turns.items()]:
            if self.turns.get(slot) is not turn:  # it ended with the turn before
                continue
            if self.hang_timeout is not None and _stalled(turn, min(passed, LONGEST), self.hang_timeout):
                yield slot, f"hung: no step in {self.hang_timeout:g} seconds"


def _stalled(turn: Turn, passed: float, timeout: float) -> bool:
    """Whether the turn hangs and has written its stack traces."""
    marks = turn.worker.heartbeat().marks
    if marks != turn.marks:
        turn.marks, turn.patient, turn.still, turn.dumped = marks, False, 0.0, False
    elif not turn.patient:
        turn.still += passed
    if turn.still >= timeout and not turn.dumped:
        turn.worker.dump()
        turn.dumped = True
    return turn.still >= timeout + DUMPING
