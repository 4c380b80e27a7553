"""The filters of a generator, `where` and `exclude`: which leaf configs they keep.

What only filters need is imported where it is used, so that a file without them is expanded the sooner.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from rapidfire_cli.manifest.size import Search
from rapidfire_cli.syntax.ast import GridSearch

if TYPE_CHECKING:
    from rapidfire_cli.manifest.filters.evaluate import Reading
    from rapidfire_cli.syntax.conditions.tree import Expression

Filtered: TypeAlias = GridSearch | Search
"""The generators that have filters."""

Keeper: TypeAlias = "Callable[[Reading], bool]"
"""Whether a leaf config with such a reading is kept."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition that removes the leaf configs that do not meet it; no answer removes nothing."""

    key: str  # where, exclude
    place: int  # among the conditions under its key
    condition: "Expression"

    @property
    def names(self) -> tuple[str, ...]:
        """The knobs that it names."""
        from rapidfire_cli.syntax.conditions.tree import knobs

        return tuple(dict.fromkeys(knob.path for knob in knobs(self.condition)))

    def keeper(self, names: Sequence[str]) -> Keeper:
        """Applies the filter to readings of these knobs."""
        from rapidfire_cli.manifest.filters.evaluate import question

        places: Mapping[str, int] = {name: place for place, name in enumerate(names)}
        ask, wrong = question(self.condition, places), self.key == "exclude"
        return lambda reading: ask(reading) is not wrong


def filters(generator: Filtered) -> tuple[Filter, ...]:
    """The generator's filters, `where` before `exclude`."""
    return tuple(
        Filter(key, place, condition)
        for key, conditions in (("where", generator.where), ("exclude", generator.exclude))
        for place, condition in enumerate(conditions)
    )


def named(every: Iterable[Filter]) -> tuple[str, ...]:
    """The knobs that the filters name, each once."""
    return tuple(dict.fromkeys(name for filter_ in every for name in filter_.names))


def fits(search: Search) -> Callable[[str], bool]:
    """Whether the filters of a search keep a leaf, given as canonical JSON."""
    judge = verdicts(search)
    return (lambda leaf: all(judge(leaf))) if filters(search) else lambda _: True


def verdicts(search: Search) -> Callable[[str], list[bool]]:
    """Whether each filter of a search keeps a leaf, given as canonical JSON."""
    from rapidfire_cli.manifest.knob_paths import cell

    every = filters(search)
    names = named(every)
    keepers = [filter_.keeper(names) for filter_ in every]

    def judge(leaf: str) -> list[bool]:
        known = json.loads(leaf)
        reading = [cell(known, name) for name in names]
        return [keeper(reading) for keeper in keepers]

    return judge
