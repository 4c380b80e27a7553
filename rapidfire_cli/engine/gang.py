"""A gang: the workers of several slots that train one run together, as one worker.

Theory of operation. Each member is an ordinary worker of its slot. It learns from its orders which rank it
has and what the gang is called, and the members find each other by that name. Rank 0 decides when a turn ends
and when a checkpoint is due, and it alone reports; another rank reports only that the run failed, or that it
cannot reach the others. So the driver hears of a gang's turn as of any other, and only has to begin and end
all members together: a name is used for the same processes only.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from rapidfire_cli.engine.jobs import Job
from rapidfire_cli.engine.messages import Assignment, Order, Rank, Report, Train
from rapidfire_cli.engine.ports import Heartbeat, Slot, Worker, gpus_of
from rapidfire_cli.engine.watchdog import Watchdog
from rapidfire_cli.facts import WorkerDied
from rapidfire_cli.terms import Run, gang_size


class Gang:
    """Several workers as one; the first is rank 0."""

    def __init__(self, members: Sequence[Worker], name: str) -> None:
        self.members = tuple(members)
        self.name = name

    def send(self, order: Order) -> None:
        """Hand the order to every member."""
        for rank, member in enumerate(self.members):
            place = Rank(rank, len(self.members), self.name)
            member.send(replace(order, rank=place) if isinstance(order, Train) else order)

    def receive(self) -> Iterator[Report]:
        """The members' reports at hand. Raises WorkerGone when one of them is gone."""
        for member in self.members:
            yield from member.receive()

    def heartbeat(self) -> Heartbeat:
        """How far it is: where one member stops, the others stop with it."""
        beats = [member.heartbeat() for member in self.members]
        return Heartbeat(sum(beat.marks for beat in beats), beats[0].step)

    def dump(self) -> None:
        """Have every member write its stack traces."""
        for member in self.members:
            member.dump()

    def kill(self) -> None:
        """End every member at once."""
        for member in self.members:
            member.kill()


class Gangs:
    """The `workers` of a fit, by slot, as they train and end: alone or in gangs."""

    def __init__(self, workers: dict[int, Worker], watchdog: Watchdog) -> None:
        self._workers = workers
        self._watchdog = watchdog
        self._known: dict[tuple[int, ...], Gang] = {}
        self._made = 0

    def begin(self, slots: tuple[int, ...], run: int, order: Train) -> None:
        """Begin a turn of the run on these slots, and watch it."""
        worker = self._worker(slots)
        self._watchdog.begin(slots[0], worker, run)
        worker.send(order)

    def send(self, slots: tuple[int, ...], order: Order) -> None:
        """Hand an order to the worker of these slots."""
        self._worker(slots).send(order)

    def end(self, died: WorkerDied, bound: Iterable[int]) -> list[WorkerDied]:
        """End the worker that `died` and those that are `bound` to it; return what became of each."""
        others = sorted(bound)
        for slot in (died.slot, *others):
            self._workers.pop(slot).kill()
            self._watchdog.lose(slot)
        return [died, *(WorkerDied(each, f"ended with worker {died.slot} of its gang") for each in others)]

    def withdraw(
        self, slots: Iterable[int], run: int, bound: Callable[[int], Iterable[int]]
    ) -> list[WorkerDied]:
        """End the workers that these slots have, whose memory the run gets, and those `bound` to them."""
        cause = f"ended, because run {run} needs its memory"
        running = (slot for slot in slots if slot in self._workers)
        return [gone for slot in running for gone in self.end(WorkerDied(slot, cause), bound(slot))]

    def _worker(self, slots: tuple[int, ...]) -> Worker:
        """The worker of these slots: that of a single one, or the gang of their present workers."""
        members = tuple(self._workers[slot] for slot in slots)
        if len(members) == 1:
            return members[0]
        known = self._known.get(slots)
        if known is None or known.members != members:
            self._made += 1
            known = self._known[slots] = Gang(members, f"{self._made}")
        return known


def born(assignment: Assignment, run: Run, ticks: int, slots: Sequence[Slot]) -> Job:
    """The job of a run that begins during the fit and trains to `ticks`, on the slots that it needs."""
    return Job(assignment, ticks, gang=gang_size(run.leaf, gpus_of(slots)))
