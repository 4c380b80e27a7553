"""The loss of an epoch: the weighted mean of its batches' losses, summed in order in float64."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rapidfire_cli.training.failure import Failure

STRIDE = 32  # losses kept on a GPU before they are read together, since each read waits for it (assumed)


class NotFinite(Failure):
    """The loss became NaN or infinite."""

    def __init__(self, name: str, value: float, step: int) -> None:
        super().__init__("nan", f"{name} is {value} at step {step}")


@dataclass(slots=True)
class LossMeter:
    """A sum of batch losses; a batch of weight 0 does not count, even if its loss is NaN."""

    name: str  # "loss", "validation loss"
    stride: int
    fail: bool  # whether a value that is not finite raises NotFinite
    total: float = 0.0
    weight: float = 0
    pending: list[tuple[Tensor, float | Tensor, int]] = field(default_factory=list)  # loss, weight, step

    def add(self, loss: Tensor, weight: float | Tensor, step: int) -> None:
        """Add a batch's mean loss and its weight. Raises NotFinite, on a GPU up to STRIDE batches later."""
        if self.stride == 1:
            self._count(loss.item(), float(weight) if isinstance(weight, Tensor) else weight, step)
            return
        self.pending.append((loss.detach(), weight, step))
        if len(self.pending) >= self.stride:
            self.drain()

    def drain(self) -> None:
        """Read and add the pending losses. Raises NotFinite."""
        losses = _read([loss for loss, _, _ in self.pending])
        tensors = iter(_read([weight for _, weight, _ in self.pending if isinstance(weight, Tensor)]))
        for value, (_, weight, step) in zip(losses, self.pending, strict=True):
            self._count(value, next(tensors) if isinstance(weight, Tensor) else weight, step)
        self.pending.clear()

    def _count(self, value: float, weight: float, step: int) -> None:
        if weight == 0:
            return
        if self.fail and not math.isfinite(value):
            raise NotFinite(self.name, value, step)
        self.total += value * weight
        self.weight += weight

    def mean(self) -> float:
        """Return the weighted mean of all losses. Raises NotFinite."""
        self.drain()
        return self.total / self.weight if self.weight else math.nan

    def state(self) -> tuple[float, float]:
        """Return the sum and the weight so far. Raises NotFinite."""
        self.drain()
        return self.total, self.weight

    def restore(self, state: tuple[float, float]) -> None:
        """Restore the result of `state`."""
        self.total, self.weight = state

    def reset(self) -> None:
        """Forget every batch."""
        self.total, self.weight = 0.0, 0
        self.pending.clear()


def _read(values: list[Tensor]) -> list[float]:
    return torch.stack([value.double().reshape(()) for value in values]).tolist() if values else []
