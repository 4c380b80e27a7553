"""What the filters of a grid do, counted exactly and without building a leaf.

Axes that no filter relates multiply, so a grid of 10^12 is counted over the few combinations that its filters
tell apart.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import prod

from rapidfire_cli.manifest.filters.components import Component, components
from rapidfire_cli.manifest.filters.filter import Filter
from rapidfire_cli.manifest.size import length
from rapidfire_cli.manifest.template import axes
from rapidfire_cli.syntax.ast import GridSearch


@dataclass(frozen=True, slots=True)
class FilterCounts:
    """What the filters do."""

    kept: int  # leaf configs
    idle: tuple[Filter, ...]  # each removes nothing
    fatal: tuple[Filter, ...]  # each removes everything


def effort(grid: GridSearch) -> int:
    """How many values the filters check to count, and again to expand."""
    return sum(component.effort for component in components(grid))


def filter_counts(grid: GridSearch) -> FilterCounts:
    """How many leaf configs the filters keep, and which filters are in vain."""
    return _counts(_Itself(grid))


class _Itself:
    """A grid that is equal only to itself, because comparing the contents of grids takes long."""

    def __init__(self, grid: GridSearch) -> None:
        self.grid = grid

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and other.grid is self.grid

    def __hash__(self) -> int:
        return id(self.grid)


@lru_cache(maxsize=1024)
def _counts(itself: _Itself) -> FilterCounts:
    grid = itself.grid
    every = components(grid)
    related = {place for component in every for place in component.places}
    sizes = (length(axis) or 0 for place, axis in enumerate(axes(grid.tree)) if place not in related)
    looks = [_look(component) for component in every]
    return FilterCounts(
        prod(sizes) * prod(look.kept for look in looks),
        tuple(filter_ for look in looks for filter_ in look.idle),
        tuple(filter_ for look in looks for filter_ in look.fatal),
    )


def _look(component: Component) -> FilterCounts:
    """Count one component, combination by combination."""
    kept, removed = 0, [0] * len(component.filters)
    for _, verdicts in component.verdicts():
        kept += all(verdicts)
        removed = [many + (not verdict) for many, verdict in zip(removed, verdicts, strict=True)]
    told = list(zip(component.filters, removed, strict=True))
    idle = tuple(filter_ for filter_, many in told if many == 0)
    return FilterCounts(kept, idle, tuple(filter_ for filter_, many in told if many == component.size))
