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
    evenly. If it has fewer rows than there are ranks, the last ranks have none.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this rank decides and reports."""
        return self.rank == 0

    def of(self, rows: int) -> int:
        """Return how many of a batch's rows belong to this rank."""
        return rows // self.size + (self.rank < rows % self.size)

    def rows(self, rows: Tensor, size: int) -> Tensor:
        """Return the rows (own,) that belong to this rank of all rows (rows,), in batches of `size`."""
        if self.size == 1:
            return rows
        batches = torch.split(rows, size) if len(rows) else ()
        parts = [torch.tensor_split(batch, self.size)[self.rank] for batch in batches]
        return torch.cat(parts) if parts else rows

    def numbered(self, first: int) -> int:
        """Return the number of this rank's part of batch `first`: no two parts draw the same numbers."""
        return self.rank * APART + first


WHOLE = Share()
