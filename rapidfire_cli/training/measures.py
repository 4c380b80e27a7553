"""What named metrics are: metrics of torchmetrics, computed in float64, each fed with what it takes.

Shapes: N rows or tokens that count, C classes, D outputs. Where torchmetrics loses digits even in float64, or
takes float32 whatever it gets, the metric is computed here.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

from rapidfire_cli.terms import Direction
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.moments import MOMENTS, Moments
from rapidfire_cli.training.predictions import IGNORED, shapes

ACCURACY = re.compile(r"top([1-9]\d*)_accuracy")
CURVES = {"precision_recall_curve", "roc", "confusion_matrix", "stat_scores"}  # not a number each


class Measure(Protocol):
    """A metric over all rows seen since it was reset."""

    def update(self, logits: Tensor, labels: Tensor) -> None: ...

    def compute(self) -> float: ...

    def reset(self) -> None: ...

    def state(self) -> Any: ...

    def restore(self, state: Any) -> None: ...


class Wrapped:
    """A metric of torchmetrics, fed with logits and labels as they are."""

    def __init__(self, name: str, metric: Any) -> None:
        self._name = name
        self._metric = metric

    def update(self, logits: Tensor, labels: Tensor) -> None:
        if self._metric.device != logits.device:
            self._metric.to(logits.device)
        self._metric.update(logits, labels)

    def compute(self) -> float:
        value = torch.as_tensor(self._metric.compute())
        if value.numel() != 1:
            raise Failure("error", f"metric `{self._name}` is no number: its shape is {tuple(value.shape)}")
        return float(value)

    def reset(self) -> None:
        self._metric.reset()

    def state(self) -> Any:
        return self._metric.metric_state, self._metric._update_count

    def restore(self, state: Any) -> None:
        self._metric.reset()
        states, self._metric._update_count = state
        for name, value in states.items():
            setattr(self._metric, name, value)


class Fed(Wrapped):
    """A metric of torchmetrics that adds up in float64, fed with what `feed` makes of logits and labels."""

    def __init__(
        self, name: str, metric: Any, feed: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    ) -> None:
        super().__init__(name, metric.set_dtype(torch.float64))
        self._feed = feed

    def update(self, logits: Tensor, labels: Tensor) -> None:
        super().update(*self._feed(logits, labels))

    def compute(self) -> float:
        """The mean over the outputs where there are several."""
        return float(torch.as_tensor(self._metric.compute()).mean())


class Accuracy(Wrapped):
    """Correct rows over rows, a row being correct when its label is among the k largest logits."""

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """(N, C) logits as they are, since softmax may make ties; binary ones beside a zero."""
        if binary(logits):
            score = logits.flatten()
            logits = torch.stack([torch.zeros_like(score), score], 1)
        super().update(logits, labels.flatten().long())

    def compute(self) -> float:
        """From the counts, since torchmetrics divides in float32."""
        correct, missed = int(self._metric.tp.sum()), int(self._metric.fn.sum())
        return correct / (correct + missed) if correct + missed else float("nan")


def binary(logits: Tensor) -> bool:
    """Whether logits are (N,) or (N, 1)."""
    return logits.ndim == 1 or (logits.ndim == 2 and logits.shape[1] == 1)


def known(name: str) -> bool:
    """Whether `name` is a named metric."""
    return bool(ACCURACY.fullmatch(name)) or name in names()


@cache
def names() -> tuple[str, ...]:
    """The snake_case names of torchmetrics' scalar classification and regression metrics."""
    found = {*_regression()}
    for prefix in ("Binary", "Multiclass", "Multilabel"):
        found |= {*_classification(prefix)}
    return tuple(sorted(found))


def direction(name: str) -> Direction | None:
    """The better direction of a named metric; None where torchmetrics does not say."""
    if ACCURACY.fullmatch(name):
        return "max"
    families = (*map(_classification, ("Binary", "Multiclass", "Multilabel")), _regression())
    return direction_of(next((known[name] for known in families if name in known), None))


def direction_of(metric: Any) -> Direction | None:
    """The better direction of a metric of torchmetrics, as it says itself."""
    higher = getattr(metric, "higher_is_better", None)
    return None if higher is None else "max" if higher else "min"


def measure(name: str, logits: Tensor, labels: Tensor) -> Measure:
    """The metric `name` for logits and labels of these shapes. Raises Failure."""
    if accuracy := ACCURACY.fullmatch(name):
        _check_accuracy(name, logits, labels)
        return Accuracy(name, _top(int(accuracy[1]), 2 if binary(logits) else logits.shape[1]))
    prefix, sizes = _task(logits, labels)
    if cls := _classification(prefix).get(name):
        micro = {"average": "micro"} if name == "accuracy" and sizes else {}
        return Fed(name, cls(**sizes, **micro, ignore_index=IGNORED), _probabilities)
    outputs = labels.shape[1] if labels.ndim > 1 else 1
    if logits.shape == labels.shape and name in MOMENTS:
        return Moments(MOMENTS[name], outputs)
    if cls := _regression().get(name):
        return Fed(name, cls(), _values)
    raise Failure("error", f"metric `{name}` is not defined for {shapes(logits, labels)}")


def _probabilities(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(N, C) logits become softmax, or sigmoid where labels are (N, C) too or the logits are binary."""
    logits = logits.double()
    if binary(logits) or labels.shape == logits.shape:
        return logits.sigmoid(), labels.long()
    return logits.softmax(1), labels.long()


def _values(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return logits.double(), labels.double().reshape(logits.shape)


def _top(k: int, classes: int) -> Any:
    from torchmetrics.classification import MulticlassAccuracy

    return MulticlassAccuracy(classes, top_k=min(k, classes), average="micro", validate_args=False)


def _check_accuracy(name: str, logits: Tensor, labels: Tensor) -> None:
    if labels.ndim != 1:
        told = shapes(logits, labels)
        raise Failure("error", f"{name} needs logits (B, C) or (B,) and labels (B,); it got {told}")


def _task(logits: Tensor, labels: Tensor) -> tuple[str, dict[str, int]]:
    if binary(logits):
        return "Binary", {}
    if labels.shape == logits.shape:
        return "Multilabel", {"num_labels": logits.shape[1]}
    return "Multiclass", {"num_classes": logits.shape[1]}


@cache
def _classification(prefix: str) -> Mapping[str, Any]:
    import torchmetrics.classification

    found = _constructible(torchmetrics.classification, {"num_classes", "num_labels"})
    named = {_snake(name[len(prefix) :]): cls for name, cls in found.items() if name.startswith(prefix)}
    return {name: cls for name, cls in named.items() if name not in CURVES}


@cache
def _regression() -> Mapping[str, Any]:
    import torchmetrics.regression

    found = _constructible(torchmetrics.regression, set())
    return {_snake(name): cls for name, cls in found.items()}


def _constructible(module: Any, sizes: set[str]) -> dict[str, Any]:
    """The module's classes that need no arguments beyond these."""
    classes = {name: cls for name, cls in vars(module).items() if isinstance(cls, type)}
    return {name: cls for name, cls in classes.items() if _required(cls) <= sizes}


def _required(cls: type) -> set[str]:
    declared = inspect.signature(cls).parameters.values()
    return {one.name for one in declared if one.default is one.empty and one.kind is not one.VAR_KEYWORD}


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
