"""What the scheduler knows of a run and of a slot."""

from dataclasses import dataclass, field
from typing import TypeAlias

from rapidfire_cli.schedule.transitions import RunPhase, SlotPhase, Trigger, next_run_phase, next_slot_phase

Gang: TypeAlias = tuple[int, ...]
"""The slots that a run trains on; () is nowhere."""

MOST_FAILED_STARTS = 3  # a slot whose workers die this often before they are ready is left alone (assumed)
FEWER = 0.75  # of the residents with which memory ran out fit, one hopes (assumed)

Key: TypeAlias = tuple[int, int]
"""Who is next: ticks trained, then the run's number."""


@dataclass(slots=True)
class RunEntry:
    """A run under way; progress is in ticks."""

    run: int
    goal: int
    limit: int  # as far as it may train before the next decision
    trained: int
    durable: int
    gang: int = 1  # slots that it needs
    bracket: int | None = None  # number of its policy
    phase: RunPhase = RunPhase.WAITING
    home: Gang = ()  # where it is resident
    claim: Gang = ()  # slots that wait for each other, to train it
    deaths: int = 0  # workers that died while serving it
    alone: bool = False  # memory ran out for it: it has its slot to itself
    ending: RunPhase | None = None  # PRUNED or STOPPED once it is durable

    def move(self, trigger: Trigger) -> None:
        self.phase = next_run_phase(self.phase, trigger)

    @property
    def ends(self) -> bool:
        """Whether it is to end where it stands; a pruned run is kept as it was judged, so at its rung."""
        judged = self.ending is RunPhase.PRUNED and self.trained >= self.limit
        return judged or self.ending is RunPhase.STOPPED

    @property
    def ready(self) -> bool:
        """Whether it waits for a turn, and for nothing else; at its goal it needs one to be completed."""
        more = self.trained < self.limit or self.limit == self.goal
        return more and self.phase is RunPhase.WAITING and not self.ends

    @property
    def makes_room(self) -> bool:
        """Whether it makes room for a gang whose turn it is; another gang that is ready does not."""
        return self.gang == 1 or (self.phase is not RunPhase.TRAINING and not self.ready)

    @property
    def key(self) -> Key:
        """The least trained comes first, then the lower number."""
        return self.trained, self.run


@dataclass(slots=True)
class SlotEntry:
    """A slot and what is resident on it."""

    slot: int
    phase: SlotPhase = SlotPhase.CLOSED
    room: int = 0  # bytes
    shared: int = 0  # bytes of it that the residents share
    most: int | None = None  # residents at once, since memory ran out with more
    former: int | None = None  # what `most` was before that
    training: int | None = None
    residents: dict[int, None] = field(default_factory=dict)  # a set that keeps its order
    leaving: int = 0  # residents on their way out
    shut: bool = False  # its resident is to be alone
    claim: int | None = None  # the run that it is kept for
    failed_starts: int = 0  # workers in a row that died before they were ready

    def move(self, trigger: Trigger) -> None:
        self.phase = next_slot_phase(self.phase, trigger)

    def fits(self, size: int, others: int) -> bool:
        """Whether a run of `size` bytes, 0 when nobody knows, fits beside others; alone it may always try."""
        if others == 0:
            return True
        seats = self.most is None or others < self.most
        return seats and not self.shut and size > 0 and self.shared + (others + 1) * size <= self.room

    @property
    def is_broken(self) -> bool:
        """Whether no worker came up on it too often to try again."""
        return self.phase is SlotPhase.CLOSED and self.failed_starts >= MOST_FAILED_STARTS

    def crowd_out(self) -> None:
        """Memory ran out with these residents: fewer must do from now on."""
        self.former = self.most
        if (count := len(self.residents)) > 1:
            self.most = max(1, int(count * FEWER))

    def has_room(self, size: int) -> bool:
        """Whether one more run fits now."""
        return self.fits(size, len(self.residents))
