"""A priority queue with lazy deletion: a set that knows its least member."""

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any, Generic, TypeVar

Item = TypeVar("Item", bound=Any)

SLACK = 64  # entries that a heap may hold in vain (assumed)


@dataclass(slots=True)
class LazyHeap(Generic[Item]):
    """Adding, discarding and finding the least cost O(log n) on average."""

    members: set[Item] = field(default_factory=set)
    heap: list[Item] = field(default_factory=list)  # every member, and some that were discarded

    def __len__(self) -> int:
        return len(self.members)

    def add(self, item: Item) -> None:
        """Add it, unless it is a member."""
        if item not in self.members:
            self.members.add(item)
            heappush(self.heap, item)
            if len(self.heap) > 2 * len(self.members) + SLACK:
                self.heap = list(self.members)
                heapify(self.heap)

    def discard(self, item: Item) -> None:
        """Remove it, if it is a member."""
        self.members.discard(item)

    def first(self) -> Item | None:
        """The least member, None without any."""
        while self.heap and self.heap[0] not in self.members:
            heappop(self.heap)
        return self.heap[0] if self.heap else None
