"""Read a batch's outputs: its logits and labels, which labels count, and the batch's weight.

B is the number of rows, T of tokens (or pixels, in several dimensions), C of classes, N of rows or tokens
that count. Logits have the shape (B, C), (B, T, C) or (B, C, T), labels (B,) or (B, T); metrics take (N, C)
and (N,). If T and C are equal, the shapes do not show which dimension holds the classes. Then the loss
decides: it is the cross entropy of one reading and not of the other. The answer from one batch is used for
all later batches of the run.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rapidfire_cli.terms import LOSS
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.returns import MAPPING, described

IGNORED = -100  # the label of rows or tokens that do not count (`ignore_index` of torch and transformers)
WEIGHT = "weight"
INTEGRAL = frozenset(
    (
        *(torch.int64, torch.int32, torch.int16, torch.int8),
        *(torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    )
)
CAUSAL_MODEL = re.compile(r"(?<!With)LMHeadModel$|ForCausalLM")
CAUSAL_OUTPUT = "CausalLM"  # in the names of transformers' output classes
BLOCK = 2**24  # logits whose cross entropies are computed at once (assumed: 64 MB)
EXPECTED = "labels (B,) need logits (B, C) or (B,), and labels (B, T) need (B, T, C) or (B, C, T)"
CLOSE = 1e-3  # relative tolerance between a cross entropy and a loss computed in bf16 (assumed)

Pair: TypeAlias = tuple[Tensor, Tensor]
"""Logits and labels."""

Inputs: TypeAlias = Callable[[Mapping[str, Any], Any], Any]
"""The MLSpec's `metric_inputs`: returns a pair for outputs and a batch; the result must be checked."""


@dataclass(slots=True)
class _Whole:
    """The labels of several batches, if these are cut from one tensor."""

    tensor: "ReferenceType[Tensor] | None" = None
    version: int = 0  # which each write to the tensor counts up
    all_count: bool | None = None  # None until a second batch has been cut from it

    def count(self, labels: Tensor) -> bool:
        """Whether all labels of a batch (B,) are known to count, for which they may be looked at together."""
        if (whole := labels._base) is None or whole.dtype is not labels.dtype:
            return labels.min().item() >= 0
        if self.tensor is None or self.tensor() is not whole or self.version != whole._version:
            self.tensor, self.version, self.all_count = ref(whole), whole._version, None
        elif self.all_count is None:
            self.all_count = whole.min().item() >= 0
        return self.all_count or labels.min().item() >= 0


@dataclass(slots=True)
class Reader:
    """Reads the outputs of one run's batches, and remembers the form that they have."""

    causal: bool = False  # the model is a causal language model of transformers
    classes_last: bool | None = None  # (B, T, C) instead of (B, C, T); None if unknown
    shifted: bool | None = None  # a token's logits predict the label of the next token; None if unknown
    inputs: Inputs | None = None  # the MLSpec's `metric_inputs`, if it defines one
    _whole: _Whole = field(default_factory=_Whole)

    def weight(self, outputs: Mapping[str, Any], batch: Any, rows: int) -> float | Tensor:
        """Return a batch's weight: its `weight`, or the number of labels that count, or its rows.

        The result is a tensor on the GPU if reading it would wait for the GPU. Raises Failure.
        """
        if (said := outputs.get(WEIGHT)) is not None:
            return _said(said)
        labels, logits = _labels(outputs, batch), outputs.get("logits")
        if not (isinstance(labels, Tensor) and labels.ndim and _integral(labels)):
            return rows
        if isinstance(logits, Tensor) and not (_is_per_row(logits, labels) or _relate(logits, labels)):
            return rows  # labels with another length, such as transcripts
        if labels.ndim == 2 and self._is_shifted(outputs, labels):
            labels = labels[:, 1:]
        if labels.shape == (rows,):
            if labels.is_cuda:
                return (labels != IGNORED).sum()
            if self._whole.count(labels):  # the common case, at a fraction of the cost
                return rows
        return int((labels != IGNORED).sum())

    def raw(self, outputs: Mapping[str, Any], batch: Any) -> Pair:
        """Return logits and labels unchanged. Raises Failure."""
        if self.inputs:
            return _own_pair(self.inputs(outputs, batch))
        logits, labels = outputs.get("logits"), _labels(outputs, batch)
        if not (isinstance(logits, Tensor) and isinstance(labels, Tensor)):
            raise _unusable({"logits": logits, "labels": labels})
        return _of_rows(_detached(logits), _detached(labels))

    def flat(self, outputs: Mapping[str, Any], pair: Pair) -> Pair:
        """Return logits (N, C) or (N,) and labels (N,) or (N, C), one for each row or token. Raises Failure.

        `pair` is the result of `raw` for these outputs.
        """
        logits, labels = pair
        if _is_per_row(logits, labels) and logits.shape[1] > 1:
            return logits, labels  # the common case, at a fraction of the cost
        logits, labels = self._read(outputs, pair)
        if logits.ndim > labels.ndim:
            return logits.flatten(0, -2), labels.flatten()
        if logits.ndim == 2 and logits.shape[1] > 1:
            return logits, labels
        return logits.flatten(), labels.flatten()

    def rows(self, outputs: Mapping[str, Any], pair: Pair) -> Pair:
        """Return the numbers of wrong predictions and of labels that count per row (B,). Raises Failure."""
        logits, labels = self._read(outputs, pair)
        predicted = (logits > 0).long() if logits.ndim == labels.ndim else logits.argmax(-1)
        counts = (labels != IGNORED).reshape(len(labels), -1)
        wrong = (predicted != labels).reshape(len(labels), -1) & counts
        return wrong.sum(1), counts.sum(1)

    def _read(self, outputs: Mapping[str, Any], pair: Pair) -> Pair:
        """Return logits (B, …, C) and labels (B, …), or both (B, …), one logit per label. Raises Failure."""
        logits, labels = pair
        is_usual = self.inputs is None  # `metric_inputs` must shift its own pairs
        if is_usual and labels.ndim == 2 and logits.ndim == 3 and self._is_shifted(outputs, labels):
            logits, labels = logits[:, :-1], labels[:, 1:]
        single = (
            logits.shape == labels.shape or logits.ndim == 1 or 1 in (*logits.shape[1:], *labels.shape[1:])
        )
        if logits.numel() == labels.numel() and single:
            return logits, labels.reshape(logits.shape)
        fits = _fit(logits, labels)
        if not fits:
            raise Failure("error", f"metrics cannot be computed from {shapes(logits, labels)}; {EXPECTED}")
        last = self._is_last(logits, labels, outputs) if len(fits) > 1 else fits == ["last"]
        if logits.ndim > 2:
            self.classes_last = last
        return (logits if last else logits.movedim(1, -1)), labels

    def state(self) -> tuple[bool | None, bool | None]:
        """Return what is known of the form of outputs."""
        return self.classes_last, self.shifted

    def restore(self, state: tuple[bool | None, bool | None]) -> None:
        """Restore the result of `state`."""
        self.classes_last, self.shifted = state

    def _is_shifted(self, outputs: Mapping[str, Any], labels: Tensor) -> bool:
        """Whether a token's logits predict the next label (B, T), as in transformers' causal models."""
        if CAUSAL_OUTPUT in type(outputs).__name__:
            return True
        if not self.causal:
            return False
        logits = outputs.get("logits")
        if not isinstance(logits, Tensor):
            return outputs.get("labels") is None
        if logits.ndim != 3 or logits.shape[:2] != labels.shape:
            return False
        if self.shifted is None:
            loss = outputs[LOSS].item()
            self.shifted = not _close(logits, labels, loss) and _close(logits[:, :-1], labels[:, 1:], loss)
        return self.shifted

    def _is_last(self, logits: Tensor, labels: Tensor, outputs: Mapping[str, Any]) -> bool:
        """Whether the classes are the last dimension of logits (B, T, T). Raises Failure if undecidable."""
        if self.classes_last is not None:
            return self.classes_last
        if logits.ndim == 3 and is_of_transformers(outputs):
            return True
        loss = outputs[LOSS].item()
        last, second = (_close(logits, labels, loss), _close(logits.movedim(1, -1), labels, loss))
        if last != second:
            return last
        cause = f"{shapes(logits, labels)} can be read as (B, T, C) or (B, C, T): the loss is the "
        cause += "cross entropy of neither" if not last else "cross entropy of both"
        raise Failure("error", f"{cause}; return logits.flatten(0, 1) and labels.flatten()")


def is_of_transformers(outputs: Any) -> bool:
    """Whether these outputs are an unchanged output object of a transformers model."""
    return _is_from_transformers(*type(outputs).__mro__)


@lru_cache  # bounded: user code may make a class for each batch
def _is_from_transformers(*bases: Any) -> bool:
    return any(base.__module__.startswith("transformers.") for base in bases)


def is_causal(model: nn.Module) -> bool:
    """Whether the model contains a causal language model of transformers."""
    return any(CAUSAL_MODEL.search(type(part).__name__) for part in model.modules())


def counted(pair: Pair) -> Pair:
    """Return the rows of a flat pair whose label counts, or for labels (N, C) any of their labels."""
    logits, labels = pair
    if not _integral(labels):
        return pair
    kept = labels != IGNORED if labels.ndim == 1 else (labels != IGNORED).any(1)
    return pair if kept.all() else (logits[kept], labels[kept])


def shapes(logits: Tensor, labels: Tensor) -> str:
    """Describe both shapes: `logits (B, 5) and labels (B,)`; with numbers if they differ in B."""
    if len(logits) != len(labels):
        return f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)}"
    return f"logits {_shape(logits)} and labels {_shape(labels)}"


def _shape(batch: Tensor) -> str:
    return f"(B, {', '.join(map(str, batch.shape[1:]))})" if batch.ndim > 1 else "(B,)"


def _unusable(needed: Mapping[str, Any]) -> Failure:
    """Return the error for the first value that is not a tensor."""
    name, value = next((name, value) for name, value in needed.items() if not isinstance(value, Tensor))
    if value is None:
        return Failure("error", f"metrics need `{name}`, but compute_forward did not return it")
    return Failure("error", f"metrics need `{name}` to be a tensor, not {type(value).__name__}")


def _detached(tensor: Tensor) -> Tensor:
    return tensor.detach() if tensor.requires_grad else tensor


def _of_rows(logits: Tensor, labels: Tensor) -> Pair:
    """Return logits and labels. Raises Failure unless both have a dimension of rows."""
    for name, value in (("logits", logits), ("labels", labels)):
        if not value.ndim:
            raise Failure("error", f"metrics need `{name}` of every row (B, …), not a single number")
    return logits, labels


def _own_pair(chosen: Any) -> Pair:
    """Return the result of `metric_inputs`. Raises Failure unless it is a pair of tensors."""
    match chosen:
        case (Tensor() as logits, Tensor() as labels):
            return _of_rows(logits.detach(), labels.detach())
    inside = f" ({', '.join(map(described, chosen))})" if isinstance(chosen, tuple | list) else ""
    expected = "metric_inputs must return two tensors, (logits, labels)"
    raise Failure("error", f"{expected}; it returned {described(chosen)}{inside}")


def _labels(outputs: Mapping[str, Any], batch: Any) -> Any:
    labels = outputs.get("labels")
    return batch.get("labels") if labels is None and isinstance(batch, MAPPING) else labels


def _integral(labels: Tensor) -> bool:
    return labels.dtype in INTEGRAL


def _is_per_row(logits: Tensor, labels: Tensor) -> bool:
    """Whether there are logits (B, C) for labels (B,)."""
    return labels.ndim == 1 and logits.ndim == 2 and logits.shape[0] == labels.shape[0]


def _relate(logits: Tensor, labels: Tensor) -> bool:
    """Whether there are logits for every label."""
    return logits.numel() == labels.numel() or bool(_fit(logits, labels))


def _fit(logits: Tensor, labels: Tensor) -> list[str]:
    """Return the possible positions of the classes in logits with one dimension more than the labels."""
    if logits.ndim != labels.ndim + 1:
        return []
    places = {"last": logits.shape[:-1], "second": (*logits.shape[:1], *logits.shape[2:])}
    fits = [name for name, shape in places.items() if tuple(shape) == tuple(labels.shape)]
    return fits[:1] if logits.ndim == 2 else fits


def _close(logits: Tensor, labels: Tensor, loss: float) -> bool:
    """Whether the loss is the cross entropy of logits (B, T, C): its mean over tokens or rows, or its sum."""
    if not _integral(labels) or not math.isfinite(loss):
        return False
    each = _cross_entropies(logits.detach().flatten(0, -2), labels.flatten()).view(len(labels), -1)
    known = _known(labels, logits.shape[-1]).flatten(1).sum(1)  # (B,)
    total, sums = each.sum(), each.sum(1)
    means = (sums / known)[known > 0].mean()
    readings = torch.stack([total, total / len(labels), total / known.sum(), means]).tolist()
    return any(math.isclose(one, loss, rel_tol=CLOSE) for one in readings)


def _cross_entropies(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each label's cross entropy (N,) under logits (N, C), 0 if it does not count; in blocks."""
    size = max(1, BLOCK // logits.shape[-1])
    targets = torch.where(_known(labels, logits.shape[-1]), labels, IGNORED).long()
    blocks = zip(torch.split(logits, size), torch.split(targets, size), strict=True)
    some = [cross_entropy(z.float(), y, ignore_index=IGNORED, reduction="none").double() for z, y in blocks]
    return torch.cat(some)


def _known(labels: Tensor, classes: int) -> Tensor:
    return (labels != IGNORED) & (labels >= 0) & (labels < classes)


def _said(weight: Any) -> float:
    """Return a batch's `weight`. Raises Failure unless it is one finite number that is not negative."""
    if isinstance(weight, Tensor) and weight.numel() != 1:
        shape = tuple(weight.shape)
        cause = f"`weight` has shape {shape}; it must be one number, the weight of the whole batch"
        raise Failure("error", cause)
    try:
        value = float(weight)
    except (TypeError, ValueError):
        kind = type(weight).__name__
        raise Failure(
            "error", f"`weight` is a {kind}; it must be one number, the weight of the whole batch"
        ) from None
    if not (math.isfinite(value) and value >= 0):
        raise Failure("error", f"`weight` is {value}; it must be finite and not negative")
    return value
