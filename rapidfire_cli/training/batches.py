"""Sources of batches: a split's rows, prepared in every epoch or cached, with bitwise equal results.

A row may depend on the epoch and its index; a batch may also depend on its number in the epoch. Neither
depends on what was prepared before. So a run that is interrupted within an epoch continues with exactly the
rows that are left.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from rapidfire_cli.mlspec import Dataset
from rapidfire_cli.training.row_failures import collating, preparing
from rapidfire_cli.training.row_streams import RowStreams

Row: TypeAlias = dict[str, Any]
Collate: TypeAlias = Callable[[Sequence[Row]], Any]


BLOCK = (
    500_000  # bytes of rows selected at once (measured: 4 MB take four times as long a row, as new memory)
)
TOGETHER = (
    1000  # batches selected at once, where they are small (assumed: a tensor takes half a kB beside its rows)
)
OUTSIDE_TRAINING = 0  # instead of an epoch
ALIGNED = 64  # bytes: the alignment of torch's CPU allocator; kernels may round differently at others


class BatchSource(Protocol):
    """A split's rows as batches on the run's device."""

    def __len__(self) -> int: ...

    def batches(self, rows: Tensor, size: int, epoch: int, first: int = 0) -> Iterator[Any]:
        """Yield the rows at these indices (rows,) in batches of `size`, each created when it is needed.

        `epoch` counts from 1 (0 outside training). `first` is the number of the first batch in the epoch,
        from 0.
        """


@dataclass(frozen=True, slots=True)
class Uncached:
    """Prepares rows whenever they are needed."""

    split: str
    dataset: Dataset
    prepare: Callable[[Any], Row]
    collate: Collate
    streams: RowStreams
    device: torch.device

    def __len__(self) -> int:
        return len(self.dataset)

    def batches(self, rows: Tensor, size: int, epoch: int, first: int = 0) -> Iterator[Any]:
        for number, batch in enumerate(cut(rows, size), first):
            yield moved(self.batch(batch.tolist(), epoch, number), self.device)

    def batch(self, indices: Sequence[int], epoch: int, number: int) -> Any:
        """Return one batch, on the CPU. Raises Failure that names the row, or the rows that do not fit."""
        with self.streams.apart():
            prepared = [self._prepared(index, epoch) for index in indices]
            self.streams.batch(number, epoch)
            with collating(self.split, indices, prepared):
                return self.collate(prepared)

    def _prepared(self, index: int, epoch: int) -> Row:
        with preparing(self.split, index, partial(self._row, epoch=epoch)):
            return self._row(index, epoch)

    def _row(self, index: int, epoch: int) -> Row:
        self.streams.row(index, epoch)
        return self.prepare(self.dataset[index])


@dataclass(frozen=True, slots=True)
class Cached:
    """Cached rows that only `collate` can join. A user's `collate` may change rows, so it gets copies."""

    split: str
    rows: Sequence[Row]
    collate: Collate
    streams: RowStreams
    device: torch.device
    own_collate: bool

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, rows: Tensor, size: int, epoch: int, first: int = 0) -> Iterator[Any]:
        for number, batch in enumerate(cut(rows, size), first):
            indices = batch.tolist()
            kept = [self.rows[row] for row in indices]
            with collating(self.split, indices, kept):
                collated = self._own(kept, epoch, number) if self.own_collate else self.collate(kept)
            yield moved(collated, self.device)

    def _own(self, kept: Sequence[Row], epoch: int, number: int) -> Any:
        with self.streams.apart():
            self.streams.batch(number, epoch)
            return self.collate([*map(copy.deepcopy, kept)])


@dataclass(frozen=True, slots=True)
class Stacked:
    """Cached rows stacked by field (rows, …) on the device; batches are slices of a selection."""

    fields: Mapping[str, Tensor]
    size: int
    device: torch.device

    def __len__(self) -> int:
        return self.size

    def batches(self, rows: Tensor, size: int, epoch: int, first: int = 0) -> Iterator[Any]:
        for block in cut(rows.to(self.device), size * self._together(size)):
            chosen = {
                name: torch.split(field.index_select(0, block), size) for name, field in self.fields.items()
            }
            for batch in zip(*chosen.values(), strict=True):
                yield dict(zip(chosen, batch, strict=True))

    def _together(self, size: int) -> int:
        """How many batches to select at once, so that each is aligned as if it were selected alone."""
        weights = [field[:size].nbytes for field in self.fields.values()]
        if any(weight % ALIGNED for weight in weights):
            return 1
        return min(TOGETHER, max(1, BLOCK // max(1, sum(weights))))


def cut(rows: Tensor, size: int) -> Iterator[Tensor]:
    """Yield the rows' indices in batches of `size`, lazily, since an epoch may have millions of batches."""
    return (rows[begin : begin + size] for begin in range(0, len(rows), size))


def moved(batch: Any, device: torch.device) -> Any:
    """Return the batch with all its tensors moved to `device`."""
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
