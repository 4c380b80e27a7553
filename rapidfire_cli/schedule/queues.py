"""Priority queues of ready runs: one for each home, and one per gang size for runs that are not resident.

A run is in at most one queue. Queues are ordered by (ticks trained, number). They are heaps with lazy
deletion, so that adding a run, removing it and finding the next one cost O(log runs).
"""

from collections import defaultdict
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any, Generic, TypeVar

from rapidfire_cli.schedule.state import Gang, Key, RunEntry

Item = TypeVar("Item", bound=Any)

SLACK = 64  # discarded entries that a heap may contain before it is rebuilt (assumed)


@dataclass(slots=True)
class LazyHeap(Generic[Item]):
    """A set with fast access to its smallest member; all operations cost O(log n) on average."""

    members: set[Item] = field(default_factory=set)
    heap: list[Item] = field(default_factory=list)  # every member, and some that were discarded

    def __len__(self) -> int:
        return len(self.members)

    def add(self, item: Item) -> None:
        """Add the item, unless it is a member."""
        if item not in self.members:
            self.members.add(item)
            heappush(self.heap, item)
            if len(self.heap) > 2 * len(self.members) + SLACK:
                self.heap = list(self.members)
                heapify(self.heap)

    def discard(self, item: Item) -> None:
        """Remove the item, if it is a member."""
        self.members.discard(item)

    def first(self) -> Item | None:
        """Return the smallest member; None if the set is empty."""
        while self.heap and self.heap[0] not in self.members:
            heappop(self.heap)
        return self.heap[0] if self.heap else None


class ReadyQueues:
    """The ready runs, by the gang of slots that is their home, or else by the gang size that they need."""

    def __init__(self) -> None:
        self._at: defaultdict[Gang, LazyHeap[Key]] = defaultdict(LazyHeap)
        self._anywhere: defaultdict[int, LazyHeap[Key]] = defaultdict(LazyHeap)
        self._homes: defaultdict[int, LazyHeap[Gang]] = defaultdict(LazyHeap)  # with ready runs, by size
        self._queued_as: dict[int, tuple[Gang, Key]] = {}  # home and key, by run

    def add(self, run: RunEntry) -> None:
        """Add a ready run under its current home and key."""
        self._queued_as[run.run] = run.home, run.key
        if run.home:
            self._at[run.home].add(run.key)
            self._homes[run.gang].add(run.home)
        else:
            self._anywhere[run.gang].add(run.key)

    def discard(self, run: RunEntry) -> None:
        """Remove the run from the queue that it was added to; does nothing if it is in no queue."""
        if run.run in self._queued_as:
            home, key = self._queued_as.pop(run.run)
            queue = self._at[home] if home else self._anywhere[run.gang]
            queue.discard(key)
            if home and not queue:
                self._homes[run.gang].discard(home)

    def at(self, home: Gang) -> Key | None:
        """Return the key of the next run that is resident on this gang; None if there is none."""
        return self._at[home].first()

    def anywhere(self, size: int) -> Key | None:
        """Return the key of the next run that is not resident and needs `size` slots; None without one."""
        return self._anywhere[size].first()

    def count_anywhere(self, size: int) -> int:
        """Return the number of runs that are not resident and need `size` slots."""
        return len(self._anywhere[size])

    def home(self, size: int) -> Gang | None:
        """Return the first gang of that size with a ready run; None if there is none."""
        return self._homes[size].first()
