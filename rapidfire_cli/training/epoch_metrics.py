"""What an epoch adds up to on a split: its loss and its metrics."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rapidfire_cli.terms import LOSS
from rapidfire_cli.training.loss_meter import LossMeter
from rapidfire_cli.training.metric_buffer import MetricBuffer
from rapidfire_cli.training.predictions import Reader
from rapidfire_cli.training.scalars import Scalars


@dataclass(slots=True)
class EpochMetrics:
    """Losses and metrics of a split, so far in this epoch."""

    losses: LossMeter
    scores: MetricBuffer | None  # None where no metric is asked for
    scalars: Scalars
    reader: Reader  # the run's: its splits have one

    @property
    def names(self) -> tuple[str, ...]:
        """What `values` will hold, as far as it is known."""
        return (LOSS, *(self.scores.names if self.scores else ()), *self.scalars.names)

    def weight(self, outputs: Mapping[str, Any], batch: Any, rows: int) -> float | Tensor:
        """How much a batch of `rows` rows counts. Raises Failure."""
        return self.reader.weight(outputs, batch, rows)

    def add(self, outputs: Mapping[str, Any], batch: Any, weight: float | Tensor, step: int) -> None:
        """Take in what the model made of a batch. Raises Failure."""
        self.losses.add(outputs[LOSS], weight, step)
        self.scalars.add(outputs, weight, step)
        if self.scores:
            self.scores.add(outputs, batch, self.reader)

    def values(self) -> dict[str, float]:
        """Loss and metrics over what was seen. Raises Failure."""
        return self._with_loss(self.scores.values() if self.scores else {})

    def partial_values(self) -> dict[str, float]:
        """The same inside an epoch, without changing what the epoch will come to. Raises Failure."""
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
        """Everything since `reset`, as tensors and plain data. Raises Failure."""
        return {
            "losses": self.losses.state(),
            "scores": self.scores.state() if self.scores else None,
            "scalars": self.scalars.state(),
            "reader": self.reader.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""
        self.reader.restore(state["reader"])
        self.losses.restore(state["losses"])
        self.scalars.restore(state.get("scalars", {}))  # which earlier versions do not have
        if self.scores:
            self.scores.restore(state["scores"])
