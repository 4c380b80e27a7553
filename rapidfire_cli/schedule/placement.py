"""Placement: which runs are resident on which slots, which are ready, and whose turn is next.

Theory of operation
-------------------
Placement owns runs and slots, the queues of ready runs and the list of idle slots. The scheduler reports each
change of a run (`end_turn`, `save`, `allow`, …). After the last change of an event, it calls `turns` for the
resulting actions: turns for idle slots, and evictions that make room for a turn. No other module changes a
run's progress, phase or home, so a run is always in the right queue.

A ready run is in exactly one queue. If it is resident, this is the queue of its home (the slots on which it
is resident). Otherwise it is the queue of all runs that need as many slots. Queues are ordered by (ticks
trained, number), so every run has results early. A slot prefers its resident runs, since switching to one
costs no loading. A ready run that waits for another run moves to a different slot (one eviction, one
checkpoint) only if a slot with room would otherwise idle. Runs do not move for any other kind of balance.

Memory limits a slot's residents: each counts as the largest run seen. It holds one until a size is known.

A gang of several slots consists of neighbours on one machine. For a turn, a gang run claims its slots: they
start no other turn until all are idle, so it cannot starve.

Invariants between two events:

- An idle slot has no run that it could train, unless a gang run has claimed it.
- A run is in a queue exactly if it is ready and claims no slots.
- A slot with a running worker is idle or busy; it trains one run at a time, and that run is resident on it.

Why this way: queues are heaps, and only changed slots (`_dirty`) are checked again: a turn is O(log runs).
"""

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence

from rapidfire_cli.facts import Evicted, RunFailed, Saved, TurnEnded, WorkerDied
from rapidfire_cli.schedule.actions import Action, Evict, StartWorker, Train
from rapidfire_cli.schedule.events import WorkerReady
from rapidfire_cli.schedule.queues import LazyHeap, ReadyQueues
from rapidfire_cli.schedule.state import Gang, Key, RunEntry, SlotEntry, has_gang
from rapidfire_cli.schedule.transitions import RunPhase, SlotPhase, Trigger

TURN = 1  # ticks: every run trains its first epoch, or chunk of one, before any run trains its second
OPEN = frozenset({SlotPhase.IDLE, SlotPhase.BUSY})


class Placement:
    """Assigns runs to slots. After the last change of an event, call `turns`."""

    def __init__(self, slots: list[SlotEntry], runs: Sequence[RunEntry] = (), size: int = 0) -> None:
        self.slots = slots
        self.runs: dict[int, RunEntry] = {}
        self.size = size  # bytes of the largest run seen
        self.shrunk = any(slot.withdrawn for slot in slots)
        self.leaving = sum(run.phase is RunPhase.LEAVING for run in runs)
        self.busy = sum(slot.phase is SlotPhase.BUSY for slot in slots)
        self._sizes = [1]  # of gangs
        self._ready = ReadyQueues()
        self._idle_with_room: LazyHeap[int] = LazyHeap()  # idle slots that have room for a run
        self._idle_full: LazyHeap[int] = LazyHeap()  # idle slots that have no room
        self._dirty: dict[int, None] = {}  # slots to check again
        for run in runs:
            self.enter(run)
        self._dirty.clear()
        for slot in slots:
            self._rest(slot)

    # Slots and workers

    def withdraw(self, slot: SlotEntry) -> None:
        """Give no more turns on this slot, and start no worker there."""
        slot.withdrawn = self.shrunk = True
        self._mark([slot.slot])
        if slot.claim is not None:
            self._unclaim(self.runs[slot.claim])

    def start(self, wanted: int) -> Iterator[StartWorker]:
        """Open closed slots until `wanted` slots are open."""
        opened = sum(slot.phase is not SlotPhase.CLOSED for slot in self.slots if not slot.withdrawn)
        startable = [slot for slot in self.slots if slot.can_start]
        for slot in startable[: max(0, wanted - opened)]:
            slot.move(StartWorker)
            yield StartWorker(slot.slot)

    @property
    def unplaceable_sizes(self) -> list[int]:
        """The gang sizes for which every gang contains a broken slot."""
        whole = [slot for slot in self.slots if not slot.is_broken]
        return [size for size in self._sizes if not has_gang(whole, size)]

    def open(self, slot: SlotEntry, room: int) -> None:
        """Mark the slot as idle, since its worker has started."""
        slot.move(WorkerReady)
        slot.room, slot.shared, slot.failed_starts = room, 0, 0
        self._mark([slot.slot])

    def close(self, slot: SlotEntry, counts_as_crash: bool = True) -> list[RunEntry]:
        """Close the slot of a worker that ended; return its residents, set back to their durable ticks.

        With `counts_as_crash`, the run that it trained counts one more death.
        """
        slot.failed_starts += slot.phase is SlotPhase.STARTING
        self.busy -= slot.phase is SlotPhase.BUSY
        slot.move(WorkerDied)
        culprit, slot.training = slot.training, None
        self._mark([slot.slot])
        if slot.claim is not None:
            self._unclaim(self.runs[slot.claim])
        orphans = [self.runs[number] for number in slot.residents]
        for run in orphans:
            self._evacuate(run, culprit, counts_as_crash)
        return orphans

    def isolate(self, run: RunEntry, gang: Gang) -> Iterator[StartWorker]:
        """Start workers on the closed slots, which are reserved for the run while it is resident there."""
        run.alone = True
        self._claim(run, gang)
        for number in gang:
            self.slots[number].move(StartWorker)
            yield StartWorker(number)

    def _evacuate(self, run: RunEntry, culprit: int | None, counts_as_crash: bool) -> None:
        """Remove a run from a dead worker; count a death for the run that it trained or was saving."""
        if run.run == culprit:
            run.deaths += counts_as_crash
            self.free([slot for slot in run.home if self.slots[slot].training == culprit], TurnEnded)
        elif culprit is None and run.phase is RunPhase.LEAVING:
            run.deaths += counts_as_crash
        self.move(run, WorkerDied)
        run.trained = run.durable
        self.leave(run)

    # Runs

    def enter(self, run: RunEntry) -> None:
        """Add a new run."""
        self.runs[run.run] = run
        if run.gang not in self._sizes:
            insort(self._sizes, run.gang)
        self.enqueue(run)

    def end_turn(self, run: RunEntry, at: int) -> None:
        """End the run's turn at `at` ticks; a run at its goal is durable and is completed next."""
        self.move(run, TurnEnded)
        self.free(run.home, TurnEnded)
        run.trained = at
        if at >= run.goal:
            run.durable = at

    def save(self, run: RunEntry, at: int) -> None:
        """Record that a checkpoint holds the run's first `at` ticks."""
        self.move(run, Saved)
        run.durable = at

    def settle(self, run: RunEntry, at: int) -> None:
        """Record that the evicted run is durable at `at` ticks and no longer resident."""
        self.move(run, Evicted)
        run.trained = run.durable = at
        self.leave(run)

    def allow(self, run: RunEntry, limit: int) -> None:
        """Let the run train to `limit` ticks, but not beyond its goal."""
        run.limit = min(limit, run.goal)
        self.enqueue(run)

    def renew(self, run: RunEntry, limit: int) -> None:
        """Let a run that ended, or was about to end, train to `limit` ticks."""
        run.ending, run.trained = None, run.trained if run.home else run.durable
        self.allow(run, limit)

    def end_as(self, run: RunEntry, ending: RunPhase) -> None:
        """Mark the run to end as PRUNED or STOPPED once it is durable."""
        run.ending = ending
        self.enqueue(run)

    def enqueue(self, run: RunEntry) -> None:
        """Put the run into its queue, if it is ready."""
        self._ready.discard(run)
        if not run.ready:
            self._unclaim(run)
        elif run.claim:
            return
        elif run.home:
            self._ready.add(run)
            self._mark(run.home)
        else:
            self._ready.add(run)
            if run.gang > 1:
                self._mark(range(len(self.slots)))

    def move(self, run: RunEntry, trigger: Trigger) -> None:
        """Change the run's phase, and update the counts of leaving runs."""
        before = run.phase
        run.move(trigger)
        change = (run.phase is RunPhase.LEAVING) - (before is RunPhase.LEAVING)
        if change:
            self.leaving += change
            for number in run.home:
                self.slots[number].leaving += change
            self._mark(run.home)

    def evict(self, run: RunEntry) -> Evict:
        """Evict a waiting run from its home."""
        self.move(run, Evict)
        self.enqueue(run)
        return Evict(run.home, run.run)

    def leave(self, run: RunEntry) -> None:
        """Record that the run is no longer resident."""
        for number in run.home:
            del self.slots[number].residents[run.run]
            self.slots[number].shut &= not run.alone
        self._mark(run.home)
        run.home, run.alone = (), False
        self.enqueue(run)

    def free(self, gang: Iterable[int], trigger: type[TurnEnded] | type[RunFailed]) -> None:
        """Free the gang's slots after a turn."""
        for number in gang:
            slot = self.slots[number]
            slot.move(trigger)
            slot.training = None
            self.busy -= 1
            self._mark([number])

    def grow(self, size: int) -> None:
        """Record the size of a run in bytes; the largest counts."""
        if size > self.size:
            self.size = size
            self._mark(range(len(self.slots)))

    # Turns

    def turns(self) -> Iterator[Action]:
        """Yield turns, and evictions of runs that block a turn, until no idle slot can train."""
        yield from self._serve_dirty()
        while held := self._in_the_way() or self._behind_another():
            yield self.evict(held)
            yield from self._serve_dirty()

    def _serve_dirty(self) -> Iterator[Action]:
        """Serve changed slots; those without runs of their own come first, for runs that are not resident."""
        while True:
            due = [self.slots[number] for number in self._dirty]
            self._dirty.clear()
            for slot in due:
                if not self._has_own(slot):
                    self._rest(slot)
            while (run := self._run(self._ready.anywhere(1))) and (
                number := self._idle_with_room.first()
            ) is not None:
                yield self._train((number,), run)
            for slot in (each for each in due if each.phase is SlotPhase.IDLE and self._has_own(each)):
                yield from self._serve(slot)
            if not self._dirty:
                return

    def _has_own(self, slot: SlotEntry) -> bool:
        """Whether the slot may be needed by a run other than those that are not resident."""
        return len(self._sizes) > 1 or slot.claim is not None or self._ready.at((slot.slot,)) is not None

    def _serve(self, slot: SlotEntry) -> Iterator[Action]:
        """Give a turn to the least trained run that needs the slot; a gang may have to wait."""
        if slot.withdrawn:
            return
        if slot.claim is not None:
            yield from self._gather(self.runs[slot.claim])
            return
        for run, gang in sorted(self._candidates(slot), key=lambda candidate: candidate[0].key):
            if run.gang == 1:
                yield self._train(gang, run)
                return
            if self._may_claim(run, gang):
                self._claim(run, gang)
                yield from self._gather(run)
                return
        self._rest(slot)

    def _candidates(self, slot: SlotEntry) -> Iterator[tuple[RunEntry, Gang]]:
        """Yield the next run of each size, with the gang on which it would train."""
        for size in self._sizes:
            if (gang := slot.gang(size)) and (run := self._next(gang)):
                yield run, gang

    def _next(self, gang: Gang) -> RunEntry | None:
        """The least trained run among the ready residents of this home and the runs that could move here."""
        keys = [self._ready.at(gang)]
        if all(self._may_enter(self.slots[number], len(gang)) for number in gang):
            keys.append(self._ready.anywhere(len(gang)))
        return self._run(min(filter(None, keys), default=None))

    def _may_enter(self, slot: SlotEntry, size: int) -> bool:
        """Whether a new resident fits; a gang may evict residents, but not another gang run that is ready."""
        if size == 1 or slot.has_room(self.size):
            return slot.has_room(self.size)
        return slot.fits(self.size, sum(not self.runs[number].makes_room for number in slot.residents))

    def _run(self, key: Key | None) -> RunEntry | None:
        return self.runs[key[1]] if key else None

    def _may_claim(self, run: RunEntry, gang: Gang) -> bool:
        """Whether all slots of the gang can be claimed, and none must first train a single-slot run."""
        slots = [self.slots[number] for number in gang]
        if any(slot.phase not in OPEN or slot.claim is not None for slot in slots):
            return False
        singles = filter(None, (self._next((number,)) for number in gang))
        return all(run.key < single.key for single in singles)

    def _claim(self, run: RunEntry, gang: Gang) -> None:
        """Reserve the gang's slots for the run."""
        self._ready.discard(run)
        run.claim = gang
        for number in gang:
            self.slots[number].claim = run.run
            self._idle_with_room.discard(number)
            self._idle_full.discard(number)

    def _unclaim(self, run: RunEntry) -> None:
        gang, run.claim, run.alone = run.claim, (), run.alone and run.home != ()
        for number in gang:
            self.slots[number].claim = None
        self._mark(gang)
        if gang:
            self.enqueue(run)

    def _gather(self, run: RunEntry) -> Iterator[Action]:
        """Make room for the run in its gang, and train it once every slot is idle."""
        slots = [self.slots[number] for number in run.claim]
        if not run.home:
            if not all(self._may_enter(slot, run.gang) for slot in slots):  # runs are larger than known
                self._unclaim(run)
                return
            for slot in slots:
                yield from self._clear(slot)
        settled = run.home or all(slot.has_room(self.size) for slot in slots)
        if settled and all(slot.phase is SlotPhase.IDLE for slot in slots):
            yield self._train(run.claim, run)

    def _clear(self, slot: SlotEntry) -> Iterator[Evict]:
        waiting = [run for run in map(self.runs.__getitem__, slot.residents) if run.phase is RunPhase.WAITING]
        for run in (each for each in waiting if each.makes_room):
            if slot.fits(self.size, len(slot.residents) - slot.leaving):
                return
            yield self.evict(run)

    def _train(self, gang: Gang, run: RunEntry) -> Train:
        run.move(Train)
        run.home = gang
        for number in gang:
            slot = self.slots[number]
            slot.move(Train)
            slot.training = run.run
            slot.residents[run.run] = None
            slot.shut |= run.alone
            self._idle_with_room.discard(number)
            self._idle_full.discard(number)
        self.busy += len(gang)
        self.enqueue(run)
        return Train(gang, (run.run,), min(run.trained + TURN, run.limit))

    # Rest

    def _mark(self, slots: Iterable[int]) -> None:
        """Mark the slots to be checked again."""
        for number in slots:
            self._dirty[number] = None
            self._idle_with_room.discard(number)
            self._idle_full.discard(number)

    def _rest(self, slot: SlotEntry) -> None:
        if slot.phase is SlotPhase.IDLE and slot.claim is None and not slot.withdrawn:
            if slot.has_room(self.size):
                self._idle_with_room.add(slot.slot)
            elif not slot.leaving:
                self._idle_full.add(slot.slot)

    def _in_the_way(self) -> RunEntry | None:
        """Find a resident that waits for a decision, while a run that is not resident could use its place."""
        while (
            self.leaving < self._ready.count_anywhere(1) and (number := self._idle_full.first()) is not None
        ):
            residents = map(self.runs.__getitem__, self.slots[number].residents)
            parked = (run for run in residents if run.phase is RunPhase.WAITING and not run.ready)
            if held := next(parked, None):
                return held
            self._idle_full.discard(number)
        return None

    def _behind_another(self) -> RunEntry | None:
        """Find a ready run whose home is busy while slots with room for it are idle."""
        for size in self._sizes:
            home = self._ready.home(size)
            if home and self.leaving < self._resting(size):
                return self._run(self._ready.at(home))
        return None

    def _resting(self, size: int) -> int:
        """Count the idle gangs of this size that have room for a run."""
        if size == 1:
            return len(self._idle_with_room)
        roomy = self._idle_with_room.members
        gangs = {self.slots[number].gang(size) for number in roomy} - {()}
        return sum(all(number in roomy for number in gang) for gang in gangs)
