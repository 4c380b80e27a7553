"""The leaves that the filters of a grid keep.

What survives in each component is known before the walk begins, so that it never enters a branch without a
leaf: the next leaf of a sparse grid of 10^12 comes as fast as that of a dense one.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from rapidfire_cli.manifest.filters.components import Component, components
from rapidfire_cli.manifest.grid import Picks, leaves, product_of
from rapidfire_cli.syntax.ast import GridSearch

Ways: TypeAlias = "dict[tuple[int, ...], dict[int, None]]"
"""What may follow each start of a way through a component's axes; values are told by their places."""


def filtered_leaves(grid: GridSearch) -> Iterator[str]:
    """The canonical JSON of every leaf that the filters keep, in grid order."""
    guides = [(component.places, _ways(component)) for component in components(grid)]
    if not all(ways for _, ways in guides):
        return iter(())

    def walk(columns: Sequence[Picks[Any]], outer: int) -> Iterator[tuple[Any, ...]]:
        last = max((place for places, _ in guides for place in places), default=-1)
        return product_of(_guided(columns, guides), max(outer, last + 1))

    return leaves(grid.tree, walk if guides else product_of)


def _ways(component: Component) -> Ways:
    """The paths that end at a kept leaf; empty when no leaf is kept."""
    ways: Ways = {}
    for way, verdicts in component.verdicts():
        if all(verdicts):
            ways.setdefault((), {})
            for depth, place in enumerate(way):
                ways.setdefault(way[:depth], {})[place] = None
    return ways


def _guided(
    columns: Sequence[Picks[Any]], guides: Sequence[tuple[tuple[int, ...], Ways]]
) -> list[Picks[Any]]:
    """The columns; each continues from the choices of its component so far."""
    guided, taken = list(columns), [0] * len(columns)
    for places, ways in guides:
        for depth, place in enumerate(places):
            guided[place] = _guide(tuple(columns[place]()), place, places[:depth], ways, taken)
    return guided


def _guide(
    values: Sequence[Any], place: int, before: Sequence[int], ways: Ways, taken: list[int]
) -> Picks[Any]:
    def column() -> Iterator[Any]:
        for index in ways[tuple(taken[earlier] for earlier in before)]:
            taken[place] = index
            yield values[index]

    return column
