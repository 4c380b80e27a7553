"""The rungs of successive halving: the epochs at which it decides, and how many go on."""

from typing import Literal, NamedTuple


class Ladder(NamedTuple):
    """Rungs at the same epochs for every run; the best 1/`reduction_factor` of each go on."""

    min_epochs: int  # of the first rung
    max_epochs: int  # where survivors end, and nothing is left to decide
    reduction_factor: int
    mode: Literal["sync", "async"]

    @property
    def levels(self) -> tuple[int, ...]:
        """The epochs of its rungs."""
        return levels(self.min_epochs, self.max_epochs, self.reduction_factor)


def levels(first: int, most: int, factor: int) -> tuple[int, ...]:
    """The epochs at which rungs decide: first · factor^k, k = 0, 1, …, as long as that is below `most`."""
    found = []
    while first < most:
        found.append(first)
        first *= factor
    return tuple(found)
