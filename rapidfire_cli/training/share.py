"""The rows of each batch that one rank of a gang trains."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

APART: Final = 2**40  # batches that an epoch never has: from here on those of the next rank are numbered


@dataclass(frozen=True, slots=True)
class Share:
    """The part of each batch that belongs to one of `size` ranks; a run on one device has all of it.

    A batch is divided as by `torch.tensor_split`: the first ranks have one row more if it does not divide
    evenly. If it has fewer rows than there are ranks, the last ranks have none. A rank that `fills` prepares
    another rank's row then, which does not count: the ranks that share a model compute each batch together.
    """

    rank: int = 0
    size: int = 1
    fills: bool = False

    @property
    def leads(self) -> bool:
        """Whether this rank decides and reports."""
        return self.rank == 0

    def of(self, rows: int) -> int:
        """Return how many of a batch's rows belong to this rank."""
        return rows // self.size + (self.rank < rows % self.size)

    def prepared(self, rows: int) -> int:
        """Return how many rows of a batch of `rows` this rank prepares: its own, or one to fill in."""
        return max(self.of(rows), 1) if self.fills else self.of(rows)

    def rows(self, rows: Tensor, size: int) -> Tensor:
        """Return the rows (own,) that belong to this rank of all rows (rows,), in batches of `size`."""
        if self.size == 1:
            return rows
        batches = torch.split(rows, size) if len(rows) else ()
        parts = [self._part(batch) for batch in batches]
        return torch.cat(parts) if parts else rows

    def _part(self, batch: Tensor) -> Tensor:
        part = torch.tensor_split(batch, self.size)[self.rank]
        return batch[-1:] if self.fills and not len(part) else part

    def numbered(self, first: int) -> int:
        """Return the number of this rank's part of batch `first`: no two parts draw the same numbers."""
        return self.rank * APART + first


WHOLE = Share()
