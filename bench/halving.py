"""Successive halving as a value that every contender is given: the same configurations in the same order."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.work import Leaf


@dataclass(frozen=True, slots=True)
class Search:
    """The best 1/`reduction_factor` go on at `min_epochs`, and at each level after that."""

    leaves: Sequence[Leaf]
    min_epochs: int
    max_epochs: int
    reduction_factor: int
    file: str  # its path, for rapidfire


@dataclass(frozen=True, slots=True)
class Found:
    """What a contender made of it."""

    epochs: Sequence[int]  # trained, by configuration
    accuracies: Sequence[float]  # of validation, after those epochs

    def chosen(self, to: int) -> int:
        """The index of the best of those that were trained to the end; the first of equal ones."""
        ended = [index for index, epochs in enumerate(self.epochs) if epochs == to]
        return max(ended, key=lambda index: (self.accuracies[index], -index))
