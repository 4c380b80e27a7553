"""Metrics that depend on the order of all rows: they keep every logit and label of the epoch.

They compare scores instead of probabilities, which are rounded to equal values near 0 and 1. Shapes: N rows,
C classes, D outputs.
"""

from collections.abc import Callable, Iterator, Mapping
from math import isnan
from typing import Any, TypeAlias

import torch
from torch import Tensor

from rapidfire_cli.training.predictions import IGNORED

BLOCK = 2**22  # logits converted at once (assumed: 32 MB)
FALSE_POSITIVES = (0.001, 0.1)  # where `log_auc` is taken, as in torchmetrics

Curve: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Computes a value from the numbers of false and true positives at falling thresholds."""

Correlation: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Computes a value from two sequences (N,)."""


class Ordered:
    """Keeps all logits and labels, without copies; the metric is the mean of the values that are defined."""

    def __init__(self, values: Callable[[Tensor, Tensor], Iterator[Tensor]]) -> None:
        self._values = values
        self._seen: list[tuple[Tensor, Tensor]] = []

    def update(self, logits: Tensor, labels: Tensor) -> None:
        self._seen.append((logits, labels))

    def compute(self) -> float:
        if not self._seen:
            return float("nan")
        logits, labels = map(torch.cat, zip(*self._seen, strict=True))
        values = [value for value in map(float, self._values(logits, labels)) if not isnan(value)]
        return sum(values) / len(values) if values else float("nan")

    def reset(self) -> None:
        self._seen = []

    def state(self) -> Any:
        return list(self._seen)

    def restore(self, state: Any) -> None:
        self._seen = list(state)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Ordered":
        """Copy the list only, since its tensors never change."""
        copied = Ordered(self._values)
        copied.restore(self._seen)
        return copied


def curve(value: Curve) -> Ordered:
    """Create a one-against-the-rest metric, averaged over the classes for which it is defined."""

    def values(logits: Tensor, labels: Tensor) -> Iterator[Tensor]:
        for scores, positive in _classes(logits, labels):
            yield value(*_counted_down(scores, positive))

    return Ordered(values)


def correlation(value: Correlation) -> Ordered:
    """Create a correlation of values and labels, averaged over the outputs for which it is defined."""

    def values(logits: Tensor, labels: Tensor) -> Iterator[Tensor]:
        columns = (each.double().reshape(len(each), -1).unbind(1) for each in (logits, labels))
        for one, other in zip(*columns, strict=True):
            yield value(one, other)

    return Ordered(values)


def auroc(fps: Tensor, tps: Tensor) -> Tensor:
    return torch.trapezoid(tps, fps) / (fps[-1] * tps[-1])


def average_precision(fps: Tensor, tps: Tensor) -> Tensor:
    return (tps.diff() * (tps / (tps + fps))[1:]).sum() / tps[-1]


def eer(fps: Tensor, tps: Tensor) -> Tensor:
    """The equal error rate: the mean of both error rates where they are closest."""
    if fps[-1] * tps[-1] == 0:
        return fps.new_tensor(torch.nan)
    false, missed = fps / fps[-1], 1 - tps / tps[-1]
    at = (false - missed).abs().argmin()
    return (false[at] + missed[at]) / 2


def log_auc(fps: Tensor, tps: Tensor) -> Tensor:
    """The area under the ROC curve over the logarithm of the false positive rate, for small rates."""
    if fps[-1] * tps[-1] == 0:
        return fps.new_tensor(torch.nan)
    x, y = fps / fps[-1], tps / tps[-1]
    bounds = x.new_tensor(FALSE_POSITIVES)
    after = torch.searchsorted(x, bounds, right=True).clamp(max=len(x) - 1)
    before = after - 1
    share = (bounds - x[before]) / (x[after] - x[before])
    first, last = y[before] + share * (y[after] - y[before])
    inside = (x > bounds[0]) & (x <= bounds[1])
    x, y = torch.cat([bounds[:1], x[inside], bounds[1:]]), torch.cat([first[None], y[inside], last[None]])
    return torch.trapezoid(y, x.log10()) / (bounds[1] / bounds[0]).log10()


def spearman(one: Tensor, other: Tensor) -> Tensor:
    one, other = (ranks - ranks.mean() for ranks in (_ranks(one), _ranks(other)))
    correlated: Tensor = one @ other / (one.norm() * other.norm())
    return correlated.clamp(-1, 1)


def kendall(one: Tensor, other: Tensor) -> Tensor:
    """Kendall's tau-b; inverted pairs are counted by a merge sort (Knight, 1966)."""
    x, y = (torch.unique(each, return_inverse=True)[1] for each in (one, other))
    order = (x * len(y) + y).argsort()
    pairs = x.new_tensor(len(x) * (len(x) - 1) // 2)
    tied_x, tied_y, tied = (_tied(each) for each in (x, y, x * len(y) + y))
    difference: Tensor = pairs - tied_x - tied_y + tied - 2 * _inversions(y[order])
    correlated: Tensor = difference / ((pairs - tied_x).double() * (pairs - tied_y)).sqrt()
    return correlated


def _tied(values: Tensor) -> Tensor:
    """Return the number of pairs of equal values."""
    counts: Tensor = torch.unique(values, return_counts=True)[1]
    pairs: Tensor = (counts * (counts - 1) // 2).sum()
    return pairs


def _inversions(values: Tensor) -> Tensor:
    """Return the number of pairs in which the larger value comes first, counted by a merge sort."""
    size, count = 1, values.new_zeros(())
    blocks = values.new_full((1 << (len(values) - 1).bit_length(),), len(values))
    blocks[: len(values)] = values
    while size < len(values):
        left, right = blocks.view(-1, 2, size).unbind(1)
        count += (size - torch.searchsorted(left.contiguous(), right.contiguous(), right=True)).sum()
        size *= 2
        blocks = blocks.view(-1, size).sort(1).values
    return count


def _ranks(values: Tensor) -> Tensor:
    """Return the ranks from 1; equal values have the mean of their ranks."""
    places: Tensor
    counts: Tensor
    _, places, counts = torch.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1).double() / 2)[places]


def _classes(logits: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the scores of each class, and which rows belong to it."""
    if logits.numel() == labels.numel() and labels.ndim == 1:
        yield logits.flatten().double(), labels == 1
    elif labels.ndim == 2:
        for score, label in zip(logits.unbind(1), labels.unbind(1), strict=True):
            kept = label != IGNORED
            yield score[kept].double(), label[kept] == 1
    else:
        total, largest, rest = _normalizers(logits)
        for number, score in enumerate(logits.unbind(1)):
            less = score.double() - total
            yield torch.where(largest == number, rest, less - torch.log1p(-less.exp())), labels == number


def _normalizers(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For logits (N, C): log(sum(exp)), the most likely class, and its log odds, exact near 1; each (N,)."""
    parts = []
    for some in torch.split(logits, max(1, BLOCK // logits.shape[1])):
        block = some.double()
        top, largest = block.max(1)
        others = block.scatter(1, largest[:, None], -torch.inf)
        parts.append((block.logsumexp(1), largest, top - others.logsumexp(1)))
    total, largest, odds = map(torch.cat, zip(*parts, strict=True))
    return total, largest, odds


def _counted_down(scores: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Count false and true positives down to each distinct score, beginning with none."""
    ordered, order = scores.sort(descending=True)
    last = torch.cat([ordered[1:] != ordered[:-1], ordered.new_ones(len(ordered[:1]), dtype=torch.bool)])
    tps = positive[order].double().cumsum(0)[last]
    fps = torch.arange(1, len(scores) + 1, device=scores.device)[last] - tps
    none = tps.new_zeros(1)
    return torch.cat([none, fps]), torch.cat([none, tps])


CURVES: Mapping[str, Curve] = {
    "auroc": auroc,
    "average_precision": average_precision,
    "eer": eer,
    "log_auc": log_auc,
}
CORRELATIONS: Mapping[str, Correlation] = {"spearman_corr_coef": spearman, "kendall_rank_corr_coef": kendall}
