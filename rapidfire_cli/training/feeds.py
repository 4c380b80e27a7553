"""Where batches come from: a split's rows, prepared anew each time or kept prepared, to the same bits."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from rapidfire_cli.mlspec import Dataset

Row: TypeAlias = dict[str, Any]
Collate: TypeAlias = Callable[[Sequence[Row]], Any]


BLOCK = 4_000_000  # bytes of rows selected at once (assumed: some L2 caches, many batches of small rows)
ALIGNED = 64  # bytes: where torch's CPU allocator begins a tensor; kernels may round otherwise elsewhere


class Feed(Protocol):
    """A split's rows as batches on the run's device."""

    def __len__(self) -> int: ...

    def batches(self, rows: Tensor, size: int) -> Iterator[Any]:
        """The rows at these indices (rows,), in batches of `size`; each is made when it is asked for."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """Prepares every row each time it is asked for."""

    dataset: Dataset
    prepare: Callable[[Any], Row]
    collate: Collate
    device: torch.device

    def __len__(self) -> int:
        return len(self.dataset)

    def batches(self, rows: Tensor, size: int) -> Iterator[Any]:
        for batch in torch.split(rows, size):
            prepared = [self.prepare(self.dataset[row]) for row in batch.tolist()]
            yield moved(self.collate(prepared), self.device)


@dataclass(frozen=True, slots=True)
class Kept:
    """Prepared rows that only the MLSpec's `collate` can join; it gets copies, which it may change."""

    rows: Sequence[Row]
    collate: Collate
    device: torch.device

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, rows: Tensor, size: int) -> Iterator[Any]:
        for batch in torch.split(rows, size):
            copies = [copy.deepcopy(self.rows[row]) for row in batch.tolist()]
            yield moved(self.collate(copies), self.device)


@dataclass(frozen=True, slots=True)
class Stacked:
    """Prepared rows joined once, field by field (rows, …), on the device; a batch is cut from a selection."""

    fields: Mapping[str, Tensor]
    size: int
    device: torch.device

    def __len__(self) -> int:
        return self.size

    def batches(self, rows: Tensor, size: int) -> Iterator[Any]:
        for block in torch.split(rows.to(self.device), size * self._together(size)):
            chosen = {
                name: torch.split(field.index_select(0, block), size) for name, field in self.fields.items()
            }
            for batch in zip(*chosen.values(), strict=True):
                yield dict(zip(chosen, batch, strict=True))

    def _together(self, size: int) -> int:
        """How many batches to select at once, each of which begins where it would if selected alone."""
        weights = [field[:size].nbytes for field in self.fields.values()]
        if any(weight % ALIGNED for weight in weights):
            return 1
        return max(1, BLOCK // max(1, sum(weights)))


def moved(batch: Any, device: torch.device) -> Any:
    """The batch with every tensor in it on `device`."""
    if device.type == "cpu":
        return batch
    match batch:
        case Tensor():
            return batch.to(device, non_blocking=True)
        case dict():
            return {name: moved(value, device) for name, value in batch.items()}
        case tuple() if hasattr(batch, "_fields"):
            return type(batch)(*(moved(value, device) for value in batch))
        case list() | tuple():
            return type(batch)(moved(value, device) for value in batch)
    return batch.to(device) if hasattr(batch, "to") else batch
