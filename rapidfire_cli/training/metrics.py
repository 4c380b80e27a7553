"""Named metrics: torchmetrics' metrics, computed in float64 from inputs in the form that each one expects.

Shapes: N rows or tokens that count, C classes, D outputs. A metric is computed here if torchmetrics loses
digits even in float64, or always uses float32, or if most runs ask for it: importing torchmetrics takes
longer than importing torch, so it is imported only for metrics that it computes.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rapidfire_cli.engine.directions import LESS, MORE
from rapidfire_cli.problems import did_you_mean
from rapidfire_cli.terms import Direction
from rapidfire_cli.training.attributes import Attributes, Unholdable
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.likelihood import PERPLEXITY, Perplexity
from rapidfire_cli.training.moments import MOMENTS, Moments
from rapidfire_cli.training.orders import CORRELATIONS, CURVES, correlation, curve
from rapidfire_cli.training.predictions import IGNORED, Pair, shapes
from rapidfire_cli.training.sums import BINARY, ENSEMBLE, EXACT, MULTICLASS, MULTILABEL, REGRESSION, VECTORS

ACCURACY = re.compile(r"top([1-9]\d*)_accuracy")
TOKEN_ACCURACY = "token_accuracy"
OWN = (PERPLEXITY, TOKEN_ACCURACY)  # metrics that torchmetrics does not have in this form
OF_SUMS = (BINARY, ENSEMBLE, MULTICLASS, MULTILABEL, REGRESSION, VECTORS)
COMPUTED_HERE = frozenset({*OWN, EXACT, *CURVES, *CORRELATIONS, *MOMENTS}.union(*OF_SUMS))
OFFERED = f"top1_accuracy, topK_accuracy, {', '.join(OWN)}, or a torchmetrics metric by its snake_case name"


class Measure(Protocol):
    """A metric over all rows seen since it was reset."""

    def update(self, logits: Tensor, labels: Tensor) -> None: ...

    def compute(self) -> float: ...

    def reset(self) -> None: ...

    def state(self) -> Any: ...

    def restore(self, state: Any) -> None: ...


class Wrapped:
    """A metric of torchmetrics that receives logits and labels unchanged."""

    def __init__(self, name: str, metric: Any) -> None:
        self._name = name
        self._metric = metric

    def update(self, logits: Tensor, labels: Tensor) -> None:
        if self._metric.device != logits.device:
            self._metric.to(logits.device)
        self._metric.update(logits, labels)

    def compute(self) -> float:
        return _number(self._name, self._metric.compute())

    def reset(self) -> None:
        self._metric.reset()

    def state(self) -> Any:
        return self._metric.metric_state, self._metric._update_count

    def restore(self, state: Any) -> None:
        self._metric.reset()
        states, self._metric._update_count = state
        for name, value in states.items():
            setattr(self._metric, name, value)


class Custom(Wrapped):
    """A user-defined metric, which may contain other metrics: all its attributes are its state."""

    def __init__(self, name: str, metric: Any) -> None:
        super().__init__(name, metric)
        self._attributes = Attributes({name: metric}, nn.Module())

    def state(self) -> Any:
        """Return the attributes that changed. Raises Failure if a checkpoint cannot hold them."""
        try:
            return self._attributes.changed()
        except Unholdable as reason:
            raise Failure("state", str(reason)) from None

    def restore(self, state: Any) -> None:
        self._metric.reset()
        self._attributes.restore(state)


def _number(name: str, value: Any) -> float:
    """Return a metric's value as a number. Raises Failure unless it is a single number."""
    if isinstance(value, Mapping | list | tuple):
        raise Failure("error", f"metric `{name}` is a {type(value).__name__}, not a single number")
    if (numbers := torch.as_tensor(value)).numel() != 1:
        shape = tuple(numbers.shape)
        raise Failure("error", f"metric `{name}` has shape {shape}, not a single number")
    return float(numbers)


class Fed(Wrapped):
    """A metric of torchmetrics that sums in float64; `feed` converts logits and labels to its inputs."""

    def __init__(self, name: str, metric: Any, feed: Callable[[Tensor, Tensor], Pair]) -> None:
        super().__init__(name, metric.set_dtype(torch.float64))
        self._feed = feed

    def update(self, logits: Tensor, labels: Tensor) -> None:
        super().update(*self._feed(logits, labels))


class Classified:
    """A classification metric that receives only rows whose labels count, after a check of their classes."""

    def __init__(self, name: str, metric: Measure, classes: int) -> None:
        self._name = name
        self._metric = metric
        self._classes = classes

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add logits and labels. Raises Failure if a label is not a class."""
        counts, known = labels != IGNORED, labels
        if not counts.all():
            known = labels[counts]
            logits, labels = (logits[counts], known) if labels.ndim == 1 else (logits, labels)
        fits = (known >= 0) & (known < self._classes)
        if known.is_floating_point():
            fits &= known == known.long()
        if not fits.all():
            needs = f"labels from 0 to {self._classes - 1}, or {IGNORED} to ignore a row"
            raise Failure("error", f"metric `{self._name}` needs {needs}; it got {known[~fits][0].item():g}")
        if len(labels):
            self._metric.update(logits, labels.long())

    def compute(self) -> float:
        return self._metric.compute()

    def reset(self) -> None:
        self._metric.reset()

    def state(self) -> Any:
        return self._metric.state()

    def restore(self, state: Any) -> None:
        self._metric.restore(state)


class Accuracy:
    """The share of correct rows; a row is correct if its label is among the k largest logits.

    It is counted here because most runs ask for it, and importing torchmetrics takes longer than importing
    torch. Equal logits are ordered as in torchmetrics.
    """

    def __init__(self, k: int) -> None:
        self._k = k
        self._rows = 0
        self._correct: Tensor | int = 0  # a tensor on the logits' device, which is not waited for

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add logits (N, C) without softmax, which may create ties; binary logits get a zero for class 0."""
        if binary(logits):
            score = logits.flatten()
            logits = torch.stack([torch.zeros_like(score), score], 1)
        labels = labels.flatten()
        best = logits.argmax(1, keepdim=True) if self._k == 1 else logits.topk(self._k, dim=1).indices
        self._correct = self._correct + (best == labels.unsqueeze(1)).sum()
        self._rows += len(labels)

    def compute(self) -> float:
        return int(self._correct) / self._rows if self._rows else float("nan")

    def reset(self) -> None:
        self._rows, self._correct = 0, 0

    def state(self) -> Any:
        return self._correct, self._rows

    def restore(self, state: Any) -> None:
        match state:
            case {"tp": correct, "fn": missed}, _:  # in checkpoints of earlier versions
                self._correct, self._rows = correct.sum(), int(correct.sum() + missed.sum())
            case correct, rows:
                self._correct, self._rows = correct, rows


def binary(logits: Tensor) -> bool:
    """Whether logits are (N,) or (N, 1)."""
    return logits.ndim == 1 or (logits.ndim == 2 and logits.shape[1] == 1)


def known(name: str) -> bool:
    """Whether `name` is a named metric."""
    return not needs_torchmetrics(name) or name in names()


def needs_torchmetrics(name: str) -> bool:
    """Whether `name` is computed by torchmetrics, if at all; importing that takes seconds."""
    return not ACCURACY.fullmatch(name) and name not in COMPUTED_HERE


def close_to(name: str, more: Iterable[str] = ()) -> str:
    """Return a hint that names the most similar named metric or name in `more`."""
    return did_you_mean(name, [*more, "top1_accuracy", "top5_accuracy", *names()])


def is_of_values(name: str) -> bool:
    """Whether the named metric is a regression metric, which never compares classes."""
    of_classes = (name in _classification(prefix) for prefix in ("Binary", "Multiclass", "Multilabel"))
    return name in _regression() and not any(of_classes)


@cache
def names() -> tuple[str, ...]:
    """Return the named metrics whose better direction is known, except `topK_accuracy`."""
    found = {*_regression()}
    for prefix in ("Binary", "Multiclass", "Multilabel"):
        found |= {*_classification(prefix)}
    return tuple(sorted({*OWN, *(found & (LESS | MORE))}))


def direction_of(metric: Any) -> Direction | None:
    """Return the better direction of a torchmetrics metric, from its `higher_is_better`."""
    higher = getattr(metric, "higher_is_better", None)
    return None if higher is None else "max" if higher else "min"


def measure(name: str, logits: Tensor, labels: Tensor) -> Measure:
    """Create the metric `name` for such logits and labels. Raises Failure if it is not defined for them."""
    accuracy = ACCURACY.fullmatch(name)
    if accuracy or name == TOKEN_ACCURACY:
        _check_accuracy(name, logits, labels)
        classes = 2 if binary(logits) else logits.shape[1]
        return Classified(name, Accuracy(min(int(accuracy[1]) if accuracy else 1, classes)), classes)
    if name == PERPLEXITY and not binary(logits) and labels.ndim == 1:
        return Classified(name, Perplexity(), logits.shape[1])
    for find in (_classifying, _regressing):
        if found := find(name, logits, labels):
            return found
    raise Failure("error", f"metric `{name}` is not defined for {shapes(logits, labels)}")


def _classifying(name: str, logits: Tensor, labels: Tensor) -> Measure | None:
    prefix, sizes, own = _task(logits, labels)
    classes = sizes.get("num_classes", 2)
    if name in own:
        return Classified(name, own[name](), classes)
    if name in CURVES:
        return Classified(name, curve(CURVES[name]), classes)
    if needs_torchmetrics(name) and (cls := _classification(prefix).get(name)):
        micro = {"average": "micro"} if name == "accuracy" and sizes else {}
        return Classified(name, Fed(name, cls(**sizes, **micro, ignore_index=IGNORED), _decided), classes)
    return None


def _regressing(name: str, logits: Tensor, labels: Tensor) -> Measure | None:
    if name in ENSEMBLE and logits.ndim == 2 and labels.ndim == 1 and labels.is_floating_point():
        return ENSEMBLE[name]()
    if logits.shape != labels.shape or name in ENSEMBLE:
        return None
    if name in VECTORS:
        return VECTORS[name]() if logits.ndim == 2 else None
    if name in REGRESSION:
        return REGRESSION[name]()
    if name in CORRELATIONS:
        return correlation(CORRELATIONS[name])
    if name in MOMENTS:
        return Moments(MOMENTS[name], labels.shape[1] if labels.ndim > 1 else 1)
    if needs_torchmetrics(name) and (cls := _regression().get(name)):
        return Fed(name, cls(), _values)
    return None


def _decided(logits: Tensor, labels: Tensor) -> Pair:
    """Return the predicted class of each row, or for multiple labels whether each is predicted."""
    predicted = (logits > 0).long() if binary(logits) or labels.shape == logits.shape else logits.argmax(1)
    return predicted, labels


def _values(logits: Tensor, labels: Tensor) -> Pair:
    return logits.double(), labels.double()


def _check_accuracy(name: str, logits: Tensor, labels: Tensor) -> None:
    if labels.ndim != 1:
        told = shapes(logits, labels)
        raise Failure("error", f"{name} needs logits (B, C) or (B,) and labels (B,); it got {told}")


def _task(logits: Tensor, labels: Tensor) -> tuple[str, dict[str, int], Mapping[str, Callable[[], Measure]]]:
    if binary(logits):
        return "Binary", {}, BINARY
    if labels.shape == logits.shape:
        return "Multilabel", {"num_labels": logits.shape[1]}, MULTILABEL
    return "Multiclass", {"num_classes": logits.shape[1]}, MULTICLASS


@cache
def _classification(prefix: str) -> Mapping[str, Any]:
    import torchmetrics.classification

    found = _constructible(torchmetrics.classification, {"num_classes", "num_labels"})
    return {snake(name[len(prefix) :]): cls for name, cls in found.items() if name.startswith(prefix)}


@cache
def _regression() -> Mapping[str, Any]:
    import torchmetrics.regression

    found = _constructible(torchmetrics.regression, set())
    return {snake(name): cls for name, cls in found.items()}


def _constructible(module: Any, sizes: set[str]) -> dict[str, Any]:
    """The module's classes that require no arguments other than `sizes`."""
    classes = {name: cls for name, cls in vars(module).items() if isinstance(cls, type)}
    return {name: cls for name, cls in classes.items() if _required(cls) <= sizes}


def _required(cls: type) -> set[str]:
    declared = inspect.signature(cls).parameters.values()
    return {one.name for one in declared if one.default is one.empty and one.kind is not one.VAR_KEYWORD}


def snake(name: str) -> str:
    """Convert a class name to snake case: `R2Score` to `r2_score`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
