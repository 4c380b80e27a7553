"""Slots that share a GPU: which of them gives its share of the memory to another."""

from collections.abc import Sequence
from dataclasses import replace

from rapidfire_cli.engine.ports import Slot
from rapidfire_cli.schedule.scheduler import UNFINISHED_PHASES, Scheduler
from rapidfire_cli.schedule.state import has_gang


class Shares:
    """The shares of memory that slots were given by others."""

    def __init__(self) -> None:
        self._added: dict[int, float] = {}  # by slot

    def of(self, slot: Slot) -> Slot:
        """The slot with what it was given."""
        return replace(slot, share=slot.share + self._added.get(slot.index, 0.0))

    def relieve(self, slots: Sequence[Slot], scheduler: Scheduler, run: int) -> tuple[int, ...]:
        """Give each of the run's slots the share of another one of its GPU; return those that gave theirs.

        Nothing changes if the run is not tried again. A slot is passed over if some run would not find
        enough slots without it.
        """
        entry, given = scheduler.runs[run], list[int]()
        for number in () if scheduler.stopping or entry.ends else entry.home:
            others = (each for each in reversed(_beside(slots, number)) if each.index not in entry.home)
            for other in others:
                if other.index not in given and _can_spare(scheduler, {*given, other.index}):
                    given.append(other.index)
                    self._added[number] = self._added.get(number, 0.0) + self.of(other).share
                    break
        return tuple(given)


def _beside(slots: Sequence[Slot], number: int) -> list[Slot]:
    """The slots of this slot's GPU, itself included; none on the CPU."""
    of, gpu = slots[number].host, slots[number].visible
    return [slot for slot in slots if gpu and (slot.host, slot.visible) == (of, gpu)]


def _can_spare(scheduler: Scheduler, without: set[int]) -> bool:
    """Whether these slots are in use, and each run that is left finds enough slots without them."""
    usable = [slot for slot in scheduler.slots if not (slot.withdrawn or slot.is_broken)]
    if not without <= {slot.slot for slot in usable}:
        return False
    here = [slot for slot in usable if slot.slot not in without]
    sizes = {run.gang for run in scheduler.runs.values() if run.phase in UNFINISHED_PHASES}
    return all(has_gang(here, size) for size in sizes)
