"""What the rules of a grid do, counted exactly and without building a leaf.

Axes that no rule relates multiply, so a grid of 10^12 is counted over the few combinations that its rules
tell apart.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import prod

from rapidfire_cli.manifest.filters.components import Component, components
from rapidfire_cli.manifest.filters.filter import Rule
from rapidfire_cli.manifest.size import length
from rapidfire_cli.manifest.template import axes
from rapidfire_cli.syntax.ast import GridSearch


@dataclass(frozen=True, slots=True)
class Survey:
    """What the rules do."""

    kept: int  # leaf configs
    idle: tuple[Rule, ...]  # each removes nothing
    fatal: tuple[Rule, ...]  # each removes everything


def effort(grid: GridSearch) -> int:
    """How many values the rules look at in a survey, and again in an expansion."""
    return sum(component.effort for component in components(grid))


def survey(grid: GridSearch) -> Survey:
    """How many leaf configs the rules keep, and which rules are in vain."""
    return _survey(_Itself(grid))


class _Itself:
    """A grid that equals no other, as comparing what grids hold would take long."""

    def __init__(self, grid: GridSearch) -> None:
        self.grid = grid

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and other.grid is self.grid

    def __hash__(self) -> int:
        return id(self.grid)


@lru_cache(maxsize=1024)
def _survey(itself: _Itself) -> Survey:
    grid = itself.grid
    every = components(grid)
    related = {place for component in every for place in component.places}
    sizes = (length(axis) or 0 for place, axis in enumerate(axes(grid.tree)) if place not in related)
    looks = [_look(component) for component in every]
    return Survey(
        prod(sizes) * prod(look.kept for look in looks),
        tuple(rule for look in looks for rule in look.idle),
        tuple(rule for look in looks for rule in look.fatal),
    )


def _look(component: Component) -> Survey:
    """The survey of one component, combination by combination."""
    kept, removed = 0, [0] * len(component.rules)
    for _, verdicts in component.verdicts():
        kept += all(verdicts)
        removed = [many + (not verdict) for many, verdict in zip(removed, verdicts, strict=True)]
    told = list(zip(component.rules, removed, strict=True))
    idle = tuple(rule for rule, many in told if many == 0)
    return Survey(kept, idle, tuple(rule for rule, many in told if many == component.size))
