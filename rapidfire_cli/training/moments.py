"""Regression metrics that are functions of means and variances, computed without losing digits.

A sum of squares of values around 10,000 holds their spread of 1 only in its last digits. So values are taken
relative to the first label, in float64, and each block of rows adds its deviations from its own mean (Chan,
Golub and LeVeque, 1983). Shapes: N rows, D outputs; a value is the mean over the outputs (scikit-learn).
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1))  # summed products; 0, 1, 2 are label, prediction, residual


class Moments:
    """Count, means, and sums of products of deviations, of labels, predictions and residuals."""

    def __init__(self, value: "Formula", outputs: int) -> None:
        self._value = value
        self._outputs = outputs
        self.count = 0
        self.origin = self.means = self.products = torch.zeros(0)  # (D,), (3, D), (4, D)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add predicted values and labels, (N, D) or (N,)."""
        labels, values = (each.double().reshape(len(each), self._outputs) for each in (labels, logits))
        if not self.count:
            self.origin = labels[0].clone()
        seen = torch.stack([labels - self.origin, values - self.origin, labels - values])  # (3, N, D)
        means = seen.mean(1)
        off = seen - means.unsqueeze(1)
        products = torch.stack([(off[one] * off[other]).sum(0) for one, other in PAIRS])
        self._join(seen.shape[1], means, products)

    def compute(self) -> float:
        return float(self._value(self).mean()) if self.count else float("nan")

    def reset(self) -> None:
        self.count = 0

    def state(self) -> Any:
        return self.count, self.origin, self.means, self.products

    def restore(self, state: Any) -> None:
        self.count, self.origin, self.means, self.products = state

    def squares(self) -> Tensor:
        """Return the summed squares of the residuals (D,)."""
        return self.products[2] + self.count * self.means[2] ** 2

    def _join(self, count: int, means: Tensor, products: Tensor) -> None:
        if not self.count:
            self.count, self.means, self.products = count, means, products
            return
        total = self.count + count
        apart = means - self.means
        between = torch.stack([apart[one] * apart[other] for one, other in PAIRS])
        self.products = self.products + products + between * (self.count * count / total)
        self.means = self.means + apart * (count / total)
        self.count = total


Formula: TypeAlias = Callable[[Moments], Tensor]
"""Computes a metric for each output (D,)."""


def r2(seen: Moments) -> Tensor:
    """The coefficient of determination; NaN for a single row."""
    return _explained(seen.squares(), seen.products[0]) if seen.count > 1 else torch.tensor(torch.nan)


def explained_variance(seen: Moments) -> Tensor:
    return _explained(seen.products[2], seen.products[0])


def relative_squared_error(seen: Moments) -> Tensor:
    return seen.squares() / seen.products[0]


def normalized_error(seen: Moments) -> Tensor:
    """The root mean squared error divided by the absolute mean label."""
    return (seen.squares() / seen.count).sqrt() / (seen.origin + seen.means[0]).abs()


def pearson(seen: Moments) -> Tensor:
    return (seen.products[3] / (seen.products[0] * seen.products[1]).sqrt()).clamp(-1, 1)


def concordance(seen: Moments) -> Tensor:
    """Lin's concordance coefficient, with unbiased variances as in torchmetrics."""
    apart = (seen.count - 1) * seen.means[2] ** 2
    return 2 * seen.products[3] / (seen.products[0] + seen.products[1] + apart)


def _explained(left: Tensor, whole: Tensor) -> Tensor:
    """The explained share; if `whole` is 0, it is 1 if `left` is 0 and 0 otherwise, as in scikit-learn."""
    return torch.where(whole > 0, 1 - left / whole, (left == 0).double())


MOMENTS: Mapping[str, Formula] = {
    "r2_score": r2,
    "explained_variance": explained_variance,
    "relative_squared_error": relative_squared_error,
    "normalized_root_mean_squared_error": normalized_error,
    "pearson_corr_coef": pearson,
    "concordance_corr_coef": concordance,
}
