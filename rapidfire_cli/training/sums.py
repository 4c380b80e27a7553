"""Metrics that are functions of sums over rows, in float64.

torchmetrics has these metrics, but computes in float32, overflows, or uses probabilities instead of logits.
Shapes: N rows, C classes, L labels, D outputs.
"""

from collections.abc import Callable, Mapping
from math import log
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, log_softmax, one_hot

from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.predictions import IGNORED

BINS = 15  # of a calibration error, as in torchmetrics
TINY = 1e-150  # a vector with a smaller norm counts as zero

Add: TypeAlias = Callable[[Tensor, Tensor], Tensor]
RowValue: TypeAlias = Callable[[Tensor], Tensor]


class Sums:
    """A sum over the results of `add`; `value` computes the metric from the sum."""

    def __init__(self, add: Add, value: RowValue) -> None:
        self._add = add
        self._value = value
        self._total: Tensor | None = None

    def update(self, logits: Tensor, labels: Tensor) -> None:
        part = self._add(logits.double(), labels)
        self._total = part if self._total is None else self._total + part

    def compute(self) -> float:
        return float("nan") if self._total is None else float(self._value(self._total))

    def reset(self) -> None:
        self._total = None

    def state(self) -> Any:
        return self._total

    def restore(self, state: Any) -> None:
        self._total = state


def mean(of: Add) -> Callable[[], Sums]:
    """Create a metric that is the mean over rows of a function with values (N,)."""

    def add(logits: Tensor, labels: Tensor) -> Tensor:
        values = of(logits, labels)
        return torch.stack([values.sum(), values.new_tensor(len(values))])

    return lambda: Sums(add, lambda total: total[0] / total[1])


def log_cosh(values: Tensor, labels: Tensor) -> Tensor:
    """log(cosh(error)), averaged over outputs, without overflow for large errors."""
    error = (values - labels).abs().reshape(len(values), -1)
    return (error + torch.log1p(torch.exp(-2 * error)) - log(2)).mean(1)


def cosine(values: Tensor, labels: Tensor) -> Tensor:
    """The cosine similarity; 0 if a vector is zero."""
    return cosine_similarity(values, labels.double(), dim=1, eps=TINY)


def kl(logits: Tensor, labels: Tensor) -> Tensor:
    """The Kullback-Leibler divergence between softmax(logits) and the labels' distributions."""
    p = _distributions(labels)
    return (torch.xlogy(p, p) - torch.where(p == 0, 0.0, p * log_softmax(logits, 1))).sum(1)


def js(logits: Tensor, labels: Tensor) -> Tensor:
    """The Jensen-Shannon divergence between softmax(logits) and the labels' distributions."""
    p, q = _distributions(labels), logits.softmax(1)
    middle = (p + q) / 2
    parts = [torch.xlogy(one, one) - torch.xlogy(one, middle) for one in (p, q)]
    return (parts[0] + parts[1]).sum(1) / 2


def _distributions(labels: Tensor) -> Tensor:
    """Scale the labels so that each row sums to 1. Raises Failure if that is impossible."""
    sums = labels.double().sum(1, keepdim=True)
    if (labels < 0).any() or (sums == 0).any():
        raise Failure("error", "a divergence needs labels (B, C) that are distributions (no negative values)")
    return labels.double() / sums


def crps(members: Tensor, labels: Tensor) -> Tensor:
    """The CRPS of ensembles (N, M): mean |x - y| - mean |x - x'| / 2, computed from sorted members."""
    size = members.shape[1]
    places = torch.arange(1, size + 1, device=members.device, dtype=members.dtype)
    spread = (members.sort(1).values * (2 * places - size - 1)).sum(1) / size**2
    return (members - labels.double().unsqueeze(1)).abs().mean(1) - spread


def binary_hinge(logits: Tensor, labels: Tensor) -> Tensor:
    """The hinge loss of scores (not of probabilities)."""
    return (1 - torch.where(labels == 1, logits, -logits)).clamp(min=0)


def hinge(logits: Tensor, labels: Tensor) -> Tensor:
    """The hinge loss of Crammer and Singer for scores (N, C)."""
    right = one_hot(labels.long(), logits.shape[1]).bool()
    others = logits.masked_fill(right, -torch.inf).amax(1)
    return (1 - logits[right] + others).clamp(min=0)


def coverage(logits: Tensor, labels: Tensor) -> Tensor:
    """The coverage error: how many of the top-ranked labels are needed to include all that apply."""
    above, _, applies = _places(logits, labels)
    return torch.where(applies, above, 0.0).amax(1)


def ranking_precision(logits: Tensor, labels: Tensor) -> Tensor:
    """The ranking average precision: among labels ranked at least as high as a true one, the true share."""
    above, right, applies = _places(logits, labels)
    shares = torch.where(applies, right / above, 0.0).sum(1) / applies.sum(1)
    counted = (labels != IGNORED).sum(1)
    return torch.where((applies.sum(1) == 0) | (applies.sum(1) == counted), 1.0, shares)


def ranking_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The ranking loss: the share of pairs in which a false label ranks at least as high as a true one."""
    above, right, applies = _places(logits, labels)
    pairs = applies.sum(1) * (labels == 0).sum(1)
    wrong = torch.where(applies, above - right, 0.0).sum(1)
    return torch.where(pairs == 0, 0.0, wrong / pairs)


def _places(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Per label (N, L): how many labels rank at least as high, how many of these apply, and if it applies."""
    applies = labels == 1
    return (
        _no_lower(logits.masked_fill(labels == IGNORED, -torch.inf), logits),
        _no_lower(logits.masked_fill(~applies, -torch.inf), logits),
        applies,
    )


def _no_lower(among: Tensor, scores: Tensor) -> Tensor:
    ordered = among.sort(1).values.contiguous()
    return (among.shape[1] - torch.searchsorted(ordered, scores.contiguous())).double()


def binary_calibration(logits: Tensor, labels: Tensor) -> Tensor:
    """Per bin of the predicted probability: rows, their summed probability, and how many are positive."""
    return _binned(logits.sigmoid(), labels == 1)


def calibration(logits: Tensor, labels: Tensor) -> Tensor:
    """Per bin of the largest probability: rows, their summed probability, and how many are right."""
    largest, predicted = logits.softmax(1).max(1)
    return _binned(largest, predicted == labels)


def _binned(confidence: Tensor, right: Tensor) -> Tensor:
    bounds = torch.linspace(0, 1, BINS + 1, dtype=confidence.dtype, device=confidence.device)
    bins = torch.bucketize(confidence, bounds, right=True) - 1
    rows = torch.stack([torch.ones_like(confidence), confidence, right.double()])
    return rows.new_zeros(3, BINS + 1).index_add_(1, bins, rows)


def calibration_error(total: Tensor) -> Tensor:
    """The mean distance of confidence and accuracy, weighted by rows."""
    return (total[1] - total[2]).abs().sum() / total[0].sum()


def binary_hits(logits: Tensor, labels: Tensor) -> Tensor:
    """Count for two classes how often each is true, predicted, and both; each label of (N, L) is a row."""
    kept = labels != IGNORED
    return _counts((logits[kept] > 0).long(), labels[kept].long(), 2)


def hits(logits: Tensor, labels: Tensor) -> Tensor:
    """Count how often each class is true, predicted, and both (3, C)."""
    return _counts(logits.argmax(1), labels.long(), logits.shape[1])


def _counts(predicted: Tensor, true: Tensor, classes: int) -> Tensor:
    rows = (true, predicted, true[true == predicted])
    return torch.stack([torch.bincount(row, minlength=classes) for row in rows]).double()


def matthews(total: Tensor) -> Tensor:
    """Matthews' correlation; for one class it is 1 if all rows are correct, else 0, as in torchmetrics."""
    true, predicted, both = total
    rows, right = true.sum(), both.sum()
    covariance = right * rows - true @ predicted
    spreads = (rows**2 - predicted @ predicted) * (rows**2 - true @ true)
    return torch.where(spreads > 0, covariance / spreads.sqrt(), (right == rows).double())


EXACT = "exact_match"


def exact() -> Sums:
    """Create the exact match metric: the share of rows without a wrong prediction."""

    def add(wrong: Tensor, counts: Tensor) -> Tensor:
        right = (wrong == 0) & (counts > 0)
        return torch.stack([right.sum(), (counts > 0).sum()]).double()

    return Sums(add, lambda total: total[0] / total[1])


Make: TypeAlias = Callable[[], Sums]

REGRESSION: Mapping[str, Make] = {"log_cosh_error": mean(log_cosh)}
VECTORS: Mapping[str, Make] = {  # logits and labels (N, D)
    "cosine_similarity": mean(cosine),
    "kl_divergence": mean(kl),
    "jensen_shannon_divergence": mean(js),
}
ENSEMBLE: Mapping[str, Make] = {"continuous_ranked_probability_score": mean(crps)}
BINARY: Mapping[str, Make] = {
    "hinge_loss": mean(binary_hinge),
    "calibration_error": lambda: Sums(binary_calibration, calibration_error),
    "matthews_corr_coef": lambda: Sums(binary_hits, matthews),
}
MULTICLASS: Mapping[str, Make] = {
    "hinge_loss": mean(hinge),
    "calibration_error": lambda: Sums(calibration, calibration_error),
    "matthews_corr_coef": lambda: Sums(hits, matthews),
}
MULTILABEL: Mapping[str, Make] = {
    "coverage_error": mean(coverage),
    "ranking_average_precision": mean(ranking_precision),
    "ranking_loss": mean(ranking_loss),
    "matthews_corr_coef": lambda: Sums(binary_hits, matthews),
}
