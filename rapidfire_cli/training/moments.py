"""Regression metrics that are functions of means and variances, without the digits that sums of squares lose.

A sum of squares of values around 10,000 holds their spread of 1 in its last digits. So values are taken
relative to the first label, in float64, and each block of rows adds its deviations from its own mean (Chan,
Golub and LeVeque, 1983). Shapes: N rows, D outputs; a value is the mean over the outputs (scikit-learn).
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1))  # of label, prediction and residual: whose products are summed


class Moments:
    """Count, means and sums of products of deviations of labels, predictions and residuals."""

    def __init__(self, value: "Formula", outputs: int) -> None:
        self._value = value
        self._outputs = outputs
        self._count = 0
        self._origin: Tensor | None = None
        self._means: Tensor | None = None
        self._products: Tensor | None = None

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """(N, D) or (N,) values and labels."""
        labels, values = (each.double().reshape(len(each), self._outputs) for each in (labels, logits))
        if self._origin is None:
            self._origin = labels[0].clone()
        seen = torch.stack([labels - self._origin, values - self._origin, labels - values])  # (3, N, D)
        mean = seen.mean(1)
        off = seen - mean.unsqueeze(1)
        products = torch.stack([(off[one] * off[other]).sum(0) for one, other in PAIRS])  # (4, D)
        self._join(seen.shape[1], mean, products)

    def compute(self) -> float:
        if self._means is None or self._products is None:
            return float("nan")
        return float(self._value(self._count, self._means, self._products).mean())

    def reset(self) -> None:
        self.restore((0, None, None, None))

    def state(self) -> Any:
        return self._count, self._origin, self._means, self._products

    def restore(self, state: Any) -> None:
        self._count, self._origin, self._means, self._products = state

    def _join(self, count: int, means: Tensor, products: Tensor) -> None:
        if self._means is None or self._products is None:
            self._count, self._means, self._products = count, means, products
            return
        total = self._count + count
        apart = means - self._means
        between = torch.stack([apart[one] * apart[other] for one, other in PAIRS])
        self._products = self._products + products + between * (self._count * count / total)
        self._means = self._means + apart * (count / total)
        self._count = total


Formula: TypeAlias = Callable[[int, Tensor, Tensor], Tensor]
"""A metric of each output (D,), of the count, the means (3, D) and the products (4, D)."""


def _r2(count: int, means: Tensor, products: Tensor) -> Tensor:
    return _score(_squares(count, means, products), products[0])


def _explained(count: int, means: Tensor, products: Tensor) -> Tensor:
    return _score(products[2], products[0])


def _relative(count: int, means: Tensor, products: Tensor) -> Tensor:
    return _squares(count, means, products) / products[0]


def _pearson(count: int, means: Tensor, products: Tensor) -> Tensor:
    return (products[3] / (products[0] * products[1]).sqrt()).clamp(-1, 1)


def _concordance(count: int, means: Tensor, products: Tensor) -> Tensor:
    """Lin's coefficient."""
    return 2 * products[3] / (products[0] + products[1] + count * means[2] ** 2)


def _squares(count: int, means: Tensor, products: Tensor) -> Tensor:
    """The summed squares of the residuals."""
    return products[2] + count * means[2] ** 2


def _score(left: Tensor, whole: Tensor) -> Tensor:
    """The share explained; with nothing to explain it is 1 if nothing is left, else 0, as in scikit-learn."""
    return torch.where(whole > 0, 1 - left / whole, torch.where(left > 0, 0.0, 1.0))


MOMENTS: Mapping[str, Formula] = {
    "r2_score": _r2,
    "explained_variance": _explained,
    "relative_squared_error": _relative,
    "pearson_corr_coef": _pearson,
    "concordance_corr_coef": _concordance,
}
