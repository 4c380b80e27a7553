"""Copy batches to a GPU while it computes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data._utils.pin_memory import pin_memory

from rapidfire_cli.training.batches import Stacked, moved
from rapidfire_cli.training.model_state import tensors_in


def uploaded(batches: Iterable[Any], device: torch.device) -> Iterator[Any]:
    """Yield the batches, copied to the device.

    A GPU copies from pinned memory on a separate stream, so that the copy of a batch overlaps with the
    computations on the previous one.
    """
    if device.type == "cpu":
        yield from batches
        return
    beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    for batch in batches:
        with torch.cuda.stream(beside):
            there = moved(pin_memory(batch), device)  # type: ignore[no-untyped-call]
        current = torch.cuda.current_stream(device)
        current.wait_stream(beside)
        for tensor in tensors_in(there):
            tensor.record_stream(current)  # its memory must not be used again before `current` is done
        yield there


@dataclass(frozen=True, slots=True)
class Mapped:
    """Stacked rows in mapped files: batches are selected there, then copied to the device."""

    rows: Stacked
    device: torch.device

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, rows: Tensor, size: int, epoch: int, first: int = 0) -> Iterator[Any]:
        return uploaded(self.rows.batches(rows, size, epoch, first), self.device)
