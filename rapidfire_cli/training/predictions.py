"""Reads a batch's outputs: its logits and labels, which of the labels count, and how much the batch weighs.

B is the number of rows, T of tokens (or pixels, in as many dimensions), C of classes, N of what is counted.
Logits come as (B, C), (B, T, C) or (B, C, T), labels as (B,) or (B, T); metrics take (N, C) and (N,). Where T
and C are equal, the shapes cannot say which dimension holds the classes. Then the loss can: it is the cross
entropy of one reading and not of the other. What one batch of a run has settled holds for its later ones.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rapidfire_cli.terms import LOSS
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.returns import described

IGNORED = -100  # the label of what does not count (torch's and transformers' `ignore_index`)
WEIGHT = "weight"
CAUSAL_MODEL = re.compile(r"(?<!With)LMHeadModel$|ForCausalLM")
CAUSAL_OUTPUT = "CausalLM"  # in the names of transformers' output classes
BLOCK = 2**24  # logits whose cross entropies are taken at once (assumed: 64 MB)
EXPECTED = "labels (B,) need logits (B, C) or (B,), and labels (B, T) need (B, T, C) or (B, C, T)"
CLOSE = 1e-3  # relative: a cross entropy and the loss that bf16 made of it (assumed)

Pair: TypeAlias = tuple[Tensor, Tensor]
"""Logits and labels."""

Inputs: TypeAlias = Callable[[Mapping[str, Any], Any], Any]
"""What `metric_inputs` returns for outputs and a batch: a pair, if it is right."""


@dataclass(slots=True)
class Reader:
    """Reads the outputs of one run's batches, and remembers what they have settled."""

    causal: bool = False  # the model is a causal language model of transformers
    classes_last: bool | None = None  # (B, T, C) instead of (B, C, T)
    shifted: bool | None = None  # the logits of a token are for the label of the next one
    inputs: Inputs | None = None  # what metrics see of outputs and batch, where the MLSpec says that itself

    def weight(self, outputs: Mapping[str, Any], batch: Any, rows: int) -> float | Tensor:
        """How much a batch counts: its `weight`, else the number of its labels that count, else its rows.

        A tensor on a GPU where a number would have to wait for it. Raises Failure.
        """
        if (said := outputs.get(WEIGHT)) is not None:
            return _said(said)
        labels, logits = _labels(outputs, batch), outputs.get("logits")
        if not (isinstance(labels, Tensor) and labels.ndim and _integral(labels)):
            return rows
        if isinstance(logits, Tensor) and not (_is_per_row(logits, labels) or _relate(logits, labels)):
            return rows  # labels of another length, such as transcripts
        if labels.ndim == 2 and self._is_shifted(outputs, labels):
            labels = labels[:, 1:]
        if labels.shape == (rows,):
            if labels.is_cuda:
                return (labels != IGNORED).sum()
            if labels.min().item() >= 0:  # the common case, at a fraction of the cost
                return rows
        return int((labels != IGNORED).sum())

    def raw(self, outputs: Mapping[str, Any], batch: Any) -> Pair:
        """Logits and labels as they come. Raises Failure."""
        if self.inputs:
            return _own_pair(self.inputs(outputs, batch))
        logits, labels = outputs.get("logits"), _labels(outputs, batch)
        for name, value in (("logits", logits), ("labels", labels)):
            if value is None:
                raise Failure("error", f"metrics need `{name}`, but compute_forward did not return it")
            if not isinstance(value, Tensor):
                kind = type(value).__name__
                raise Failure("error", f"metrics need `{name}` to be a tensor, not {kind}")
        return _of_rows(logits.detach(), labels.detach())  # type: ignore[union-attr]

    def flat(self, outputs: Mapping[str, Any], pair: Pair) -> Pair:
        """Logits (N, C) or (N,) and labels (N,) or (N, C), a row for each row or token. Raises Failure.

        `pair` is what `raw` made of the outputs.
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
        """Per row (B,) how many labels are predicted wrongly, and how many count. Raises Failure."""
        logits, labels = self._read(outputs, pair)
        predicted = (logits > 0).long() if logits.ndim == labels.ndim else logits.argmax(-1)
        counts = (labels != IGNORED).reshape(len(labels), -1)
        wrong = (predicted != labels).reshape(len(labels), -1) & counts
        return wrong.sum(1), counts.sum(1)

    def _read(self, outputs: Mapping[str, Any], pair: Pair) -> Pair:
        """Logits (B, …, C) and labels (B, …), or both (B, …) with one logit a label. Raises Failure."""
        logits, labels = pair
        is_usual = self.inputs is None  # what the MLSpec chooses itself, it has shifted itself
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
        """What is settled."""
        return self.classes_last, self.shifted

    def restore(self, state: tuple[bool | None, bool | None]) -> None:
        """Put back what `state` gave."""
        self.classes_last, self.shifted = state

    def _is_shifted(self, outputs: Mapping[str, Any], labels: Tensor) -> bool:
        """Whether labels (B, T) are for the next token: transformers' causal models shift them."""
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
        """Which of two readings of logits (B, T, T) is meant. Raises Failure where nothing can tell."""
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


def is_of_transformers(outputs: object) -> bool:
    """Whether these are a transformers model's outputs as it returned them."""
    return any(base.__module__.startswith("transformers.") for base in type(outputs).mro())


def is_causal(model: nn.Module) -> bool:
    """Whether a part of the model is one of transformers' causal language models."""
    return any(CAUSAL_MODEL.search(type(part).__name__) for part in model.modules())


def counted(pair: Pair) -> Pair:
    """The rows of a flat pair whose label counts; of labels (N, C), those with any that counts."""
    logits, labels = pair
    if not _integral(labels):
        return pair
    kept = labels != IGNORED if labels.ndim == 1 else (labels != IGNORED).any(1)
    return pair if kept.all() else (logits[kept], labels[kept])


def shapes(logits: Tensor, labels: Tensor) -> str:
    """`logits (B, 5) and labels (B,)`; with numbers where they differ in B."""
    if len(logits) != len(labels):
        return f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)}"
    return f"logits {_shape(logits)} and labels {_shape(labels)}"


def _shape(batch: Tensor) -> str:
    return f"(B, {', '.join(map(str, batch.shape[1:]))})" if batch.ndim > 1 else "(B,)"


def _of_rows(logits: Tensor, labels: Tensor) -> Pair:
    """Logits and labels. Raises Failure unless both have a dimension of rows."""
    for name, value in (("logits", logits), ("labels", labels)):
        if not value.ndim:
            raise Failure("error", f"metrics need `{name}` of every row (B, …), not a single number")
    return logits, labels


def _own_pair(chosen: Any) -> Pair:
    """What `metric_inputs` returned. Raises Failure unless it is a pair of tensors."""
    match chosen:
        case (Tensor() as logits, Tensor() as labels):
            return _of_rows(logits.detach(), labels.detach())
    inside = f" ({', '.join(map(described, chosen))})" if isinstance(chosen, tuple | list) else ""
    expected = "metric_inputs must return two tensors, (logits, labels)"
    raise Failure("error", f"{expected}; it returned {described(chosen)}{inside}")


def _labels(outputs: Mapping[str, Any], batch: Any) -> Any:
    labels = outputs.get("labels")
    return batch.get("labels") if labels is None and isinstance(batch, Mapping) else labels


def _integral(labels: Tensor) -> bool:
    return not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)


def _is_per_row(logits: Tensor, labels: Tensor) -> bool:
    """Whether there are logits (B, C) for labels (B,)."""
    return labels.ndim == 1 and logits.ndim == 2 and len(logits) == len(labels)


def _relate(logits: Tensor, labels: Tensor) -> bool:
    """Whether there are logits for every label."""
    return logits.numel() == labels.numel() or bool(_fit(logits, labels))


def _fit(logits: Tensor, labels: Tensor) -> list[str]:
    """Where the classes may be in logits that have one dimension more than the labels."""
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
    """Each label's cross entropy (N,) under logits (N, C), 0 where it does not count, some at a time."""
    size = max(1, BLOCK // logits.shape[-1])
    targets = torch.where(_known(labels, logits.shape[-1]), labels, IGNORED).long()
    blocks = zip(torch.split(logits, size), torch.split(targets, size), strict=True)
    some = [cross_entropy(z.float(), y, ignore_index=IGNORED, reduction="none").double() for z, y in blocks]
    return torch.cat(some)


def _known(labels: Tensor, classes: int) -> Tensor:
    return (labels != IGNORED) & (labels >= 0) & (labels < classes)


def _said(weight: Any) -> float:
    """The weight that a batch says. Raises Failure unless it is one number, finite and not negative."""
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
