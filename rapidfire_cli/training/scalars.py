"""Metrics from the numbers that compute_forward returns beside the loss: their weighted means over an epoch.

A number is a tensor without dimensions, or a Python number. Output objects of transformers are ignored: their
fields are the library's choice, not the user's.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, TypeAlias

import torch
from torch import Tensor

from rapidfire_cli.terms import LOSS
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.loss_meter import LossMeter
from rapidfire_cli.training.predictions import WEIGHT, is_of_transformers

Numbers: TypeAlias = tuple[tuple[str, Tensor], ...]
"""The numbers of a batch, by name."""

NO_SCALARS = frozenset({LOSS, WEIGHT, "logits", "labels"})


@dataclass(slots=True)
class Scalars:
    """The means of a split's numbers in the current epoch, each over the batches that contain it."""

    stride: int
    taken: Collection[str]  # the names of other metrics
    means: dict[str, LossMeter] = field(default_factory=dict)  # by name, in order of appearance

    @property
    def names(self) -> tuple[str, ...]:
        """The names that have appeared."""
        return tuple(self.means)

    def add(self, numbers: Numbers, weight: float | Tensor, step: int) -> None:
        """Add the numbers of a batch with this weight. Raises Failure if another metric has the name."""
        for name, value in numbers:
            if name not in self.means:
                self._begin(name)
            self.means[name].add(value, weight, step)

    def values(self) -> dict[str, float]:
        """Return the means by name."""
        return {name: mean.mean() for name, mean in self.means.items()}

    def reset(self) -> None:
        """Forget every batch."""
        self.means.clear()

    def state(self) -> dict[str, tuple[float, float]]:
        """Return the sums and weights so far."""
        return {name: mean.state() for name, mean in self.means.items()}

    def restore(self, state: Mapping[str, tuple[float, float]]) -> None:
        """Restore the result of `state`."""
        self.means.clear()
        for name, sums in state.items():
            self._begin(name).restore(sums)

    def _begin(self, name: str) -> LossMeter:
        if name in self.taken:
            cause = f"compute_forward returned a number `{name}`, which the run already has as a metric"
            raise Failure("error", f"{cause}; rename the number, or remove the other metric")
        self.means[name] = LossMeter(name, self.stride, fail=False)
        return self.means[name]


def found(outputs: Mapping[str, Any]) -> Numbers:
    """Return the numbers beside the loss, by name."""
    if outputs.keys() <= NO_SCALARS or is_of_transformers(outputs):
        return ()
    return tuple(_found(outputs))


def _found(outputs: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for name, value in outputs.items():
        if name in NO_SCALARS or not isinstance(name, str):
            continue
        if isinstance(value, Tensor):
            if value.ndim == 0 and not (value.is_complex() or value.dtype == torch.bool):
                yield name, value
        elif type(value) is not bool and isinstance(value, Real):
            yield name, torch.tensor(float(value), dtype=torch.float64, device=outputs[LOSS].device)
