"""Frozen weights with equal bytes, stored once for all runs that are resident on a worker.

Theory of operation. When a run is opened, its frozen weights (`training/frozen.py`) join the pool. If another
resident has a storage with the same bytes, layout and alignment, it replaces the run's own, which is freed.
Storages that other objects refer to are not shared: a trained parameter, a buffer that is saved, an
attribute, a NumPy array. The pool has weak references; a storage is freed with its last holder.

Only one run trains at a time, and its storages are checked when its turn ends. If the bytes of a storage have
changed, the run wrote to it. It keeps the storage, and the other holders are *disturbed*: they are saved,
which needs no frozen weights, and reopened before they train. So a write costs the other runs time, but never
changes their results.
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
"""A number, the device, size and alignment of a storage, and the offsets and hashes of the tensors in it.

The number distinguishes storages of one run that have equal bytes.
"""


@dataclass(slots=True, eq=False, weakref_slot=True)
class Stored:
    """A storage of frozen weights, and the runs that use it."""

    storage: UntypedStorage
    tensors: tuple[Tensor, ...]  # detached views of all tensors in it
    marks: tuple[str, ...]  # the original hashes of their bytes
    holders: "WeakSet[Frozen]" = field(default_factory=WeakSet)

    @property
    def is_unchanged(self) -> bool:
        """Whether the storage still has its original bytes."""
        return _marks(self.tensors) == self.marks


class WeightPool:
    """The shared storages of frozen weights of a worker's residents."""

    def __init__(self) -> None:
        self._stored: WeakValueDictionary[Key, Stored] = WeakValueDictionary()

    def join(self, frozen: Frozen, model: nn.Module) -> None:
        """Replace a run's frozen weights by equal ones in the pool, or add its own to the pool."""
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
        """Find storages that this run wrote to; it keeps them, and their other holders are returned."""
        others: set[Frozen] = set()
        for stored in {*frozen.stored.values()}:
            if len(stored.holders) > 1 and not stored.is_unchanged:
                others |= {*stored.holders} - {frozen}
                stored.holders = WeakSet([frozen])
        return others

    def exclusive(self, frozen: Frozen) -> int:
        """Return the bytes of the storages that no other run holds."""
        own = {stored for stored in frozen.stored.values() if len(stored.holders) == 1}
        return sum(stored.storage.nbytes() for stored in own)

    def shared(self, alone: Frozen | None = None) -> int:
        """Return the bytes of the storages that several runs use, or of all those of the only resident.

        Every turn asks, so this goes through the storages, not through all residents: there may be tens of
        thousands, most of them without frozen weights.
        """
        several = (stored for stored in self._stored.values() if len(stored.holders) > 1)
        return sum(stored.storage.nbytes() for stored in ({*alone.stored.values()} if alone else several))


def _by_storage(names: Iterable[str], tensors: Mapping[str, Tensor | None]) -> list[list[str]]:
    groups: dict[int, list[str]] = {}
    for name in names:
        groups.setdefault(address(tensors[name]), []).append(name)
    return [*groups.values()]


def _marks(tensors: Iterable[Tensor]) -> tuple[str, ...]:
    return tuple(hashed(each) if each.device.type == "cpu" else mixed(each) for each in tensors)
