"""The scheduler's state of each run and each slot."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TypeAlias

from rapidfire_cli.schedule.transitions import RunPhase, SlotPhase, Trigger, next_run_phase, next_slot_phase

Gang: TypeAlias = tuple[int, ...]
"""The slots that a run trains on; () means none."""

MOST_FAILED_STARTS = 3  # a slot whose workers die this often before they are ready is broken (assumed)
FEWER = 0.75  # share of the residents that is kept after memory ran out (assumed)

Key: TypeAlias = tuple[int, int]
"""The priority of a run: ticks trained, then its number; the smallest is next."""


@dataclass(slots=True)
class RunEntry:
    """The state of a run; progress is in ticks."""

    run: int
    goal: int
    limit: int  # ticks to which it may train before the next decision
    trained: int
    durable: int
    gang: int = 1  # slots that it needs
    bracket: int | None = None  # number of its policy
    phase: RunPhase = RunPhase.WAITING
    home: Gang = ()  # the slots on which it is resident
    claim: Gang = ()  # slots that are reserved to train it once all are idle
    deaths: int = 0  # workers that died while they trained or saved it
    alone: bool = False  # it ran out of memory, so it has its home, or its claim, for itself
    ending: RunPhase | None = None  # PRUNED or STOPPED once it is durable

    def move(self, trigger: Trigger) -> None:
        self.phase = next_run_phase(self.phase, trigger)

    @property
    def ends(self) -> bool:
        """Whether the run must end now; a pruned run ends at the rung where it was judged."""
        judged = self.ending is RunPhase.PRUNED and self.trained >= self.limit
        return judged or self.ending is RunPhase.STOPPED

    @property
    def ready(self) -> bool:
        """Whether the run only waits for a turn; a run at its goal needs a turn to be completed."""
        more = self.trained < self.limit or self.limit == self.goal
        return more and self.phase is RunPhase.WAITING and not self.ends

    def stretch(self, chunks: int) -> int:
        """To how many ticks a short turn may go on, `chunks` in an epoch; 0 if it may not.

        A first turn may not, so that others begin soon, nor one that a bracket waits for.
        """
        return self.limit if self.bracket is None and chunks == 1 and self.trained else 0

    @property
    def makes_room(self) -> bool:
        """Whether the run can be evicted for a gang; a gang run that is ready or training cannot."""
        return self.gang == 1 or (self.phase is not RunPhase.TRAINING and not self.ready)

    @property
    def key(self) -> Key:
        """The run's priority: ticks trained, then its number."""
        return self.trained, self.run


@dataclass(slots=True)
class SlotEntry:
    """The state of a slot and its residents."""

    slot: int
    host: tuple[int, int]  # the first slot of its machine, and the one after its last
    phase: SlotPhase = SlotPhase.CLOSED
    room: int = 0  # bytes
    shared: int = 0  # bytes of `room` that the residents share
    most: int | None = None  # the limit of residents after memory ran out with more
    former: int | None = None  # the previous value of `most`
    training: int | None = None
    residents: dict[int, None] = field(default_factory=dict)  # a set that keeps its order
    leaving: int = 0  # residents that are being evicted
    shut: bool = False  # no other run may join its resident
    claim: int | None = None  # the run that it is reserved for
    failed_starts: int = 0  # consecutive workers that died before they were ready
    withdrawn: bool = False  # its machine is about to go, or gone

    def move(self, trigger: Trigger) -> None:
        self.phase = next_slot_phase(self.phase, trigger)

    def gang(self, size: int) -> Gang:
        """The neighbours that serve a run of `size` slots together; () if the machine has too few."""
        start, stop = self.host
        first = self.slot - (self.slot - start) % size
        return tuple(range(first, first + size)) if first + size <= stop else ()

    def fits(self, size: int, others: int) -> bool:
        """Whether a run of `size` bytes (0: unknown) fits beside others; alone on a slot it always fits."""
        if others == 0:
            return True
        seats = self.most is None or others < self.most
        return seats and not self.shut and size > 0 and self.shared + (others + 1) * size <= self.room

    @property
    def is_broken(self) -> bool:
        """Whether workers failed to start on this slot too often to try again."""
        return self.phase is SlotPhase.CLOSED and self.failed_starts >= MOST_FAILED_STARTS

    @property
    def can_start(self) -> bool:
        """Whether a worker can be started here."""
        return self.phase is SlotPhase.CLOSED and not (self.is_broken or self.withdrawn)

    def crowd_out(self, undo: bool) -> None:
        """Reduce the limit of residents after memory ran out, or undo that."""
        if undo:
            self.most = self.former
            return
        self.former = self.most
        if (count := len(self.residents)) > 1:
            self.most = max(1, int(count * FEWER))

    def has_room(self, size: int) -> bool:
        """Whether one more run of `size` bytes fits now."""
        return self.fits(size, len(self.residents))


def machine(first: int, count: int) -> list[SlotEntry]:
    """The slots of one machine, numbered from `first` on."""
    return [SlotEntry(slot, (first, first + count)) for slot in range(first, first + count)]


def has_gang(slots: Collection[SlotEntry], size: int) -> bool:
    """Whether a gang of this size is among these slots."""
    numbers = {slot.slot for slot in slots}
    gangs = (slot.gang(size) for slot in slots)
    return any(gang and numbers.issuperset(gang) for gang in gangs)
