"""Frozen weights with equal bytes, stored once for all runs that are resident on a worker.

Theory of operation. When a run comes into memory, its frozen weights (`training/frozen.py`) join the pool: a
storage that another resident has with the same bytes, layout and alignment takes the place of the run's own,
which is freed. Storages that something else looks into are left alone: a trained parameter, a buffer that is
saved, an attribute, a NumPy array. The pool refers to its storages weakly; one is freed with its last holder.

Only one run trains at a time, and its holders are looked at when its turn ends. If the bytes of a storage are
others by then, the run has written to it. It keeps the storage, and the other holders are *disturbed*: they
are saved, which needs no frozen weights, and opened again before they train. So a write costs its neighbours
time, and never changes a bit of theirs.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias
from weakref import WeakSet, WeakValueDictionary

import torch
from torch import Tensor, UntypedStorage, nn

from rapidfire_cli.training.attributes import registered
from rapidfire_cli.training.batches import ALIGNED
from rapidfire_cli.training.frozen import Frozen, address, hashed, mixed

Key: TypeAlias = tuple[object, ...]
"""Device, size and alignment of a storage, the places and hashes of the tensors in it.

The number before these tells storages of one run with equal bytes apart.
"""


@dataclass(slots=True, eq=False, weakref_slot=True)
class Stored:
    """A storage of frozen weights, and the runs that use it."""

    storage: UntypedStorage
    tensors: tuple[Tensor, ...]  # detached ones, of all that is in it
    marks: tuple[str, ...]  # what their bytes were
    holders: "WeakSet[Frozen]" = field(default_factory=WeakSet)

    @property
    def is_unchanged(self) -> bool:
        """Whether nobody has written to it."""
        return _marks(self.tensors) == self.marks


class WeightPool:
    """The storages of a worker's residents."""

    def __init__(self) -> None:
        self._stored: WeakValueDictionary[Key, Stored] = WeakValueDictionary()

    def join(self, frozen: Frozen, model: nn.Module) -> None:
        """Store a run's frozen weights where those of others are, or let others use its own."""
        tensors = registered(model)
        seen: Counter[Key] = Counter()  # a run's own storages stay apart, even if they have equal bytes
        for names in _by_storage(frozen.hashes, tensors):
            own = {name: tensor for name in names if (tensor := tensors[name]) is not None}
            first = own[names[0]]
            storage = first.untyped_storage()
            if torch._C._storage_Use_Count(storage._cdata) != len(own) + 1:  # and Python's `storage`
                continue
            content: Key = (
                *(first.device, storage.nbytes(), storage.data_ptr() % ALIGNED),
                *((frozen.hashes[name], tensor.storage_offset()) for name, tensor in own.items()),
            )
            key = (seen[content], *content)
            seen[content] += 1
            stored = self._stored.get(key)
            if stored is None or not stored.is_unchanged:
                views = tuple(tensor.detach() for tensor in own.values())
                stored = self._stored[key] = Stored(storage, views, tuple(map(frozen.mark, own)))
            else:
                for tensor, view in zip(own.values(), stored.tensors, strict=True):
                    tensor.data = view
            stored.holders.add(frozen)
            frozen.stored |= dict.fromkeys(own, stored)

    def written(self, frozen: Frozen) -> set[Frozen]:
        """The other holders of storages that this run has written to, which are its own from now on."""
        others: set[Frozen] = set()
        for stored in {*frozen.stored.values()}:
            if len(stored.holders) > 1 and not stored.is_unchanged:
                others |= {*stored.holders} - {frozen}
                stored.holders = WeakSet([frozen])
        return others

    def exclusive(self, frozen: Frozen) -> int:
        """The bytes of the storages that no other run holds."""
        own = {stored for stored in frozen.stored.values() if len(stored.holders) == 1}
        return sum(stored.storage.nbytes() for stored in own)

    def shared(self, residents: Iterable[Frozen]) -> int:
        """The bytes of all storages that these runs hold and that would not go with one of them."""
        runs = [*residents]
        every = {stored for frozen in runs for stored in frozen.stored.values()}
        return sum(stored.storage.nbytes() for stored in every if len(stored.holders) > 1 or len(runs) == 1)


def _by_storage(names: Iterable[str], tensors: Mapping[str, Tensor | None]) -> list[list[str]]:
    groups: dict[int, list[str]] = {}
    for name in names:
        groups.setdefault(address(tensors[name]), []).append(name)
    return [*groups.values()]


def _marks(tensors: Iterable[Tensor]) -> tuple[str, ...]:
    return tuple(hashed(each) if each.device.type == "cpu" else mixed(each) for each in tensors)
