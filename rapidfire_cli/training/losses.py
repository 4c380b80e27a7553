"""The loss of an epoch: the row-weighted mean of its batches, in float64 and in their order."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rapidfire_cli.training.failure import Failure

STRIDE = 32  # losses kept before they are read back from a GPU, where each read waits for it (assumed)


class NotFinite(Failure):
    """The loss became NaN or infinite."""

    def __init__(self, name: str, value: float, step: int) -> None:
        super().__init__("nan", f"{name} is {value} at step {step}")


@dataclass(slots=True)
class Losses:
    """Batch losses, summed."""

    name: str  # "loss", "validation loss"
    stride: int
    fail: bool  # on a value that is not finite
    total: float = 0.0
    rows: int = 0
    pending: list[tuple[Tensor, int, int]] = field(default_factory=list)  # loss, rows, step

    def add(self, loss: Tensor, rows: int, step: int) -> None:
        """Take in the mean loss over `rows` rows. Raises NotFinite, on a GPU a little later."""
        if self.stride == 1:
            self._count(loss.item(), rows, step)
            return
        self.pending.append((loss.detach(), rows, step))
        if len(self.pending) >= self.stride:
            self.drain()

    def drain(self) -> None:
        """Read what is pending. Raises NotFinite."""
        values = _read([loss for loss, _, _ in self.pending])
        for value, (_, rows, step) in zip(values, self.pending, strict=True):
            self._count(value, rows, step)
        self.pending.clear()

    def _count(self, value: float, rows: int, step: int) -> None:
        if self.fail and not math.isfinite(value):
            raise NotFinite(self.name, value, step)
        self.total += value * rows
        self.rows += rows

    def mean(self) -> float:
        """The mean over all rows. Raises NotFinite."""
        self.drain()
        return self.total / self.rows if self.rows else math.nan

    def state(self) -> tuple[float, int]:
        """The sum and the rows so far. Raises NotFinite."""
        self.drain()
        return self.total, self.rows

    def restore(self, state: tuple[float, int]) -> None:
        """Put back what `state` gave."""
        self.total, self.rows = state

    def reset(self) -> None:
        """Forget every row."""
        self.total, self.rows = 0.0, 0
        self.pending.clear()


def _read(losses: list[Tensor]) -> list[float]:
    return torch.stack([loss.double().reshape(()) for loss in losses]).tolist() if losses else []
