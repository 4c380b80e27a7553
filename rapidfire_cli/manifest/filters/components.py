"""Split a grid's filters into independent components: which axes each reads, and its verdicts."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, product
from math import prod
from typing import TypeAlias, cast

from rapidfire_cli.manifest.filters.evaluate import Answer
from rapidfire_cli.manifest.filters.filter import Filter, filters
from rapidfire_cli.manifest.grid import leaves
from rapidfire_cli.manifest.knob_paths import cell
from rapidfire_cli.manifest.size import length
from rapidfire_cli.manifest.template import Axis, axes
from rapidfire_cli.syntax.ast import GridSearch, List, Tree
from rapidfire_cli.syntax.conditions.tree import values
from rapidfire_cli.terms import LeafConfig, Plain

KnobPlace: TypeAlias = tuple[int, int, str]
"""Where a knob lies: its axis, the list among those that advance there, and its path inside the values."""


@dataclass(frozen=True, slots=True)
class AxisReadings:
    """An axis, and what each of its values says, in order, of the knobs that filters name."""

    names: tuple[str, ...]
    size: int
    readings: Callable[[], Iterator[tuple[Answer, ...]]]


@dataclass(frozen=True, slots=True)
class Component:
    """Rules, and the axes that they relate to each other; no axis lies in two components."""

    places: tuple[int, ...]  # of the axes among all
    columns: tuple[AxisReadings, ...]
    filters: tuple[Filter, ...]
    fixed: Mapping[str, Answer]  # knobs that do not vary

    @property
    def size(self) -> int:
        """How many combinations the axes have."""
        return prod(column.size for column in self.columns)

    @property
    def effort(self) -> int:
        """How many values the filters check."""
        return self.size * sum(values(filter_.condition) for filter_ in self.filters)

    def verdicts(self) -> Iterator[tuple[tuple[int, ...], list[bool]]]:
        """Each combination, as the places of its values, with whether each filter keeps it."""
        names = [*self.fixed, *(name for column in self.columns for name in column.names)]
        keepers = [filter_.keeper(names) for filter_ in self.filters]
        for pick in product(*(enumerate(column.readings()) for column in self.columns)):
            reading = [*self.fixed.values(), *chain.from_iterable(read for _, read in pick)]
            yield tuple(place for place, _ in pick), [keeper(reading) for keeper in keepers]


def components(grid: GridSearch) -> list[Component]:
    """The filters of the grid, those together that an axis connects."""
    every, varying = filters(grid), axes(grid.tree)
    homes = _homes(varying, {name for filter_ in every for name in filter_.names})
    connected = _connected([_touched(filter_, homes) for filter_ in every])
    return [
        _component(grid.tree, varying, places, [every[at] for at in ours], homes)
        for places, ours in connected
    ]


def _touched(filter_: Filter, homes: Mapping[str, KnobPlace]) -> list[int]:
    """The axes that the filter reads."""
    return sorted({homes[name][0] for name in filter_.names if name in homes})


def _homes(varying: Sequence[Axis], names: set[str]) -> dict[str, KnobPlace]:
    """Where the knobs lie; those that do not vary are left out."""
    lists = {
        ".".join(map(str, at)): (place, member)
        for place, axis in enumerate(varying)
        for member, (at, _) in enumerate(axis)
    }
    homes = {}
    for name in names:
        for start in accumulate(name.split("."), "{}.{}".format):
            if start in lists:
                homes[name] = (*lists[start], name[len(start) + 1 :])
    return homes


def _connected(touched: Sequence[Sequence[int]]) -> list[tuple[list[int], list[int]]]:
    """From the axes that each filter touches: those that are connected, and their filters, by index."""
    leader: dict[int, int] = {place: place for places in touched for place in places}

    def lead(place: int) -> int:
        while leader[place] != place:
            leader[place] = place = leader[leader[place]]
        return place

    for places in touched:
        for place in places[1:]:
            leader[lead(place)] = lead(places[0])
    shared: defaultdict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for place in sorted(leader):
        shared[lead(place)][0].append(place)
    for index, places in enumerate(touched):
        shared[lead(places[0]) if places else -1][1].append(index)
    return list(shared.values())


def _component(
    tree: dict[str, Tree],
    varying: Sequence[Axis],
    places: Sequence[int],
    ours: Sequence[Filter],
    homes: Mapping[str, KnobPlace],
) -> Component:
    names = dict.fromkeys(name for filter_ in ours for name in filter_.names)
    lying: dict[int, dict[str, KnobPlace]] = {place: {} for place in places}
    for name in names.keys() & homes.keys():
        lying[homes[name][0]][name] = homes[name]
    columns = tuple(_column(varying[place], lying[place]) for place in places)
    leaf = cast("LeafConfig", tree)
    fixed = {name: cell(leaf, name) for name in names if name not in homes}
    return Component(tuple(places), columns, tuple(ours), fixed)


def _column(axis: Axis, homes: Mapping[str, KnobPlace]) -> AxisReadings:
    def readings() -> Iterator[tuple[Answer, ...]]:
        for pick in _picks(axis):
            yield tuple(_inside(pick[member], rest) for _, member, rest in homes.values())

    return AxisReadings(tuple(homes), length(axis) or 0, readings)


def _picks(axis: Axis) -> Iterator[tuple[Plain, ...]]:
    """The chosen alternatives of an axis's lists, in the order of its leaves."""
    lists = [held.values for _, held in axis if isinstance(held, List)]
    for together in zip(*lists, strict=True):
        yield from product(*(map(json.loads, leaves(value)) for value in together))


def _inside(value: Plain, path: str) -> Answer:
    return cell(value, path) if path else value
