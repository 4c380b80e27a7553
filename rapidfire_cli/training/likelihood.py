"""Perplexity, computed in float64 with bounded memory for any vocabulary size."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

PERPLEXITY = "perplexity"
BLOCK = 2**22  # logits that are converted to float64 at once (assumed: 32 MB)


class Perplexity:
    """exp(mean cross entropy) of labels (N,) under logits (N, C); each label counts once."""

    def __init__(self) -> None:
        self._total = 0.0  # sum of the cross entropies
        self._labels = 0

    def update(self, logits: Tensor, labels: Tensor) -> None:
        size = max(1, BLOCK // logits.shape[1])
        blocks = zip(torch.split(logits, size), torch.split(labels, size), strict=True)
        sums = [cross_entropy(z.double(), y, reduction="sum") for z, y in blocks]
        self._total += float(torch.stack(sums).sum())
        self._labels += len(labels)

    def compute(self) -> float:
        if not self._labels:
            return float("nan")
        return float(torch.tensor(self._total / self._labels, dtype=torch.float64).exp())

    def reset(self) -> None:
        self._total, self._labels = 0.0, 0

    def state(self) -> tuple[float, int]:
        return self._total, self._labels

    def restore(self, state: tuple[float, int]) -> None:
        self._total, self._labels = state
