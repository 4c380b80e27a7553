"""The metrics of an epoch, exact: over all of its rows, not averaged over batches."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, TypeAlias

import torch
from torch import Tensor

from rapidfire_cli.training.measures import Measure, Wrapped, measure

BUFFER = 4_000_000  # logits kept before the metrics take them in (assumed: 16 MB)

Batch: TypeAlias = tuple[Tensor, Tensor]
"""Logits and labels."""


class Scores:
    """Named and custom metrics of one split; logits and labels are kept and taken in many rows at a time."""

    def __init__(self, names: Sequence[str], custom: Mapping[str, Any]) -> None:
        self._names = tuple(names)
        self._custom = custom
        self._measures: dict[str, Measure] = {}
        self._like: Batch | None = None  # one row of the first batch: what the measures were made for
        self._kept: list[Batch] = []
        self._size = 0

    @property
    def names(self) -> tuple[str, ...]:
        """What `values` will hold."""
        return (*self._names, *self._custom)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Keep a batch."""
        if self._kept and not _alike(self._kept[0], (logits, labels)):
            self._flush()
        self._kept.append((logits.detach(), labels.detach()))
        self._size += logits.numel()
        if self._size >= BUFFER:
            self._flush()

    def values(self) -> dict[str, float]:
        """The metrics over everything since `reset`. Raises Failure."""
        self._flush()
        return {name: each.compute() for name, each in self._measures.items()}

    def so_far(self) -> dict[str, float]:
        """The metrics of a copy, so that sums are taken in the same order however turns are cut.

        None where that fails: what has no value yet, or cannot be copied, must not fail a run that would not.
        """
        try:
            return deepcopy(self).values()
        except Exception:
            return {}

    def reset(self) -> None:
        """Forget every row."""
        self._kept.clear()
        self._size = 0
        for each in self._measures.values():
            each.reset()

    def state(self) -> dict[str, Any]:
        """Everything since `reset`, as tensors and plain data."""
        measures = {name: each.state() for name, each in self._measures.items()}
        return {"kept": _joined(self._kept), "like": self._like, "measures": measures}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""
        if state["kept"]:
            self.add(*state["kept"])
        if state["like"]:
            self._make(state["like"])
        for name, each in state["measures"].items():
            self._measures[name].restore(each)

    def _flush(self) -> None:
        if joined := _joined(self._kept):
            if self._like is None:
                self._make((joined[0][:1].clone(), joined[1][:1].clone()))
            for each in self._measures.values():
                each.update(*joined)
        self._kept.clear()
        self._size = 0

    def _make(self, like: Batch) -> None:
        self._like = like
        self._measures = {name: measure(name, *like) for name in self._names}
        self._measures |= {name: Wrapped(name, metric) for name, metric in self._custom.items()}


def _alike(one: Batch, other: Batch) -> bool:
    (logits, labels), (others, theirs) = one, other
    return logits.shape[1:] == others.shape[1:] and labels.shape[1:] == theirs.shape[1:]


def _joined(batches: list[Batch]) -> Batch | None:
    if not batches:
        return None
    logits, labels = zip(*batches, strict=True)
    return torch.cat(logits), torch.cat(labels)
