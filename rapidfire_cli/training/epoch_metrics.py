"""The loss and the metrics of a split, accumulated over an epoch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from rapidfire_cli.terms import LOSS
from rapidfire_cli.training.loss_meter import LossMeter
from rapidfire_cli.training.metric_buffer import MetricBuffer
from rapidfire_cli.training.predictions import Pair, Reader
from rapidfire_cli.training.scalars import Scalars, found


class Reading(NamedTuple):
    """What the loss and the metrics of a split take in of one batch."""

    loss: Tensor
    weight: float | Tensor
    numbers: tuple[tuple[str, Tensor], ...]  # that compute_forward returned beside the loss
    pairs: tuple[Pair | None, ...]  # logits and labels, as the metrics need them; empty without metrics

    def on_cpu(self) -> "Reading":
        """Return the same with every tensor on the CPU."""
        weight = float(self.weight) if isinstance(self.weight, Tensor) else self.weight
        numbers = tuple((name, value.detach().cpu()) for name, value in self.numbers)
        pairs = tuple(pair and (pair[0].cpu(), pair[1].cpu()) for pair in self.pairs)
        return Reading(self.loss.detach().cpu(), weight, numbers, pairs)


@dataclass(slots=True)
class EpochMetrics:
    """The losses and metrics of a split in the current epoch."""

    losses: LossMeter
    scores: MetricBuffer | None  # None if the run has no such metrics
    scalars: Scalars
    reader: Reader  # one per run, shared by its splits

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the metrics that `values` will return, as far as they are known."""
        return (LOSS, *(self.scores.names if self.scores else ()), *self.scalars.names)

    def weight(self, outputs: Mapping[str, Any], batch: Any, rows: int) -> float | Tensor:
        """Return the weight of a batch of `rows` rows. Raises Failure."""
        return self.reader.weight(outputs, batch, rows)

    def read(self, outputs: Mapping[str, Any], batch: Any, weight: float | Tensor) -> Reading:
        """Return what the loss and the metrics need of a batch and its outputs. Raises Failure."""
        pairs = self.scores.read(outputs, batch, self.reader) if self.scores else ()
        return Reading(outputs[LOSS], weight, found(outputs), pairs)

    def add(self, reading: Reading, step: int) -> None:
        """Add a batch to the loss and the metrics. Raises Failure."""
        self.losses.add(reading.loss, reading.weight, step)
        if reading.numbers:
            self.scalars.add(reading.numbers, reading.weight, step)
        if self.scores:
            self.scores.add(reading.pairs)

    def values(self) -> dict[str, float]:
        """Return the loss and the metrics over all batches since `reset`. Raises Failure."""
        return self._with_loss(self.scores.values() if self.scores else {})

    def partial_values(self) -> dict[str, float]:
        """Return the values within an epoch, without changing the epoch's result. Raises Failure."""
        return self._with_loss(self.scores.partial_values() if self.scores else {})

    def _with_loss(self, scores: Mapping[str, float]) -> dict[str, float]:
        return {LOSS: self.losses.mean(), **scores, **self.scalars.values()}

    def reset(self) -> None:
        """Begin a new epoch."""
        self.losses.reset()
        self.scalars.reset()
        if self.scores:
            self.scores.reset()

    def state(self) -> dict[str, Any]:
        """Return everything accumulated since `reset`, as tensors and plain data. Raises Failure."""
        return {
            "losses": self.losses.state(),
            "scores": self.scores.state() if self.scores else None,
            "scalars": self.scalars.state(),
            "reader": self.reader.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state`."""
        self.reader.restore(state["reader"])
        self.losses.restore(state["losses"])
        self.scalars.restore(state.get("scalars", {}))  # missing in checkpoints of earlier versions
        if self.scores:
            self.scores.restore(state["scores"])

    def lasting(self) -> dict[str, Any] | None:
        """Return the state that outlasts `reset`; None if there is none. Raises Failure."""
        return self.scores.lasting() if self.scores else None

    def restore_lasting(self, state: Mapping[str, Any] | None) -> None:
        """Restore the result of `lasting`."""
        if self.scores:
            self.scores.restore_lasting(state)
