"""Where batches come from: a split's rows, prepared anew each time or kept prepared, to the same bits."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from rapidfire_cli.mlspec import Dataset

Row: TypeAlias = dict[str, Any]
Collate: TypeAlias = Callable[[Sequence[Row]], Any]


class Feed(Protocol):
    """A split's rows as batches on the run's device."""

    def __len__(self) -> int: ...

    def batch(self, rows: Tensor) -> Any:
        """The batch of the rows at these indices (B,)."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """Prepares every row each time it is asked for."""

    dataset: Dataset
    prepare: Callable[[Any], Row]
    collate: Collate
    device: torch.device

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, rows: Tensor) -> Any:
        prepared = [self.prepare(self.dataset[row]) for row in rows.tolist()]
        return moved(self.collate(prepared), self.device)


@dataclass(frozen=True, slots=True)
class Kept:
    """Prepared rows that only the MLSpec's `collate` can join; it gets copies, which it may change."""

    rows: Sequence[Row]
    collate: Collate
    device: torch.device

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: Tensor) -> Any:
        return moved(self.collate([copy.deepcopy(self.rows[row]) for row in rows.tolist()]), self.device)


@dataclass(frozen=True, slots=True)
class Stacked:
    """Prepared rows joined once, field by field (rows, …), on the device; a batch is a selection."""

    fields: Mapping[str, Tensor]
    size: int
    device: torch.device

    def __len__(self) -> int:
        return self.size

    def batch(self, rows: Tensor) -> Any:
        rows = rows.to(self.device)
        return {name: field.index_select(0, rows) for name, field in self.fields.items()}


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
