"""Every leaf of a config's value sets, in file order with the last knob fastest, as canonical JSON.

The product runs in C over texts that are serialised once: `product` picks one text per value set in file
order, `itemgetter` brings the picks into the order of sorted keys, `join` makes the leaf. The static text
around a value set travels with its texts.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, product
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar

from rapidfire_cli.manifest.size import length
from rapidfire_cli.manifest.template import Axis, Template, ValueSet, axes, weave
from rapidfire_cli.syntax.ast import List, Path, Tree

HELD = 2**14  # assumed: texts held in memory, a few megabytes

Pick = TypeVar("Pick")
Picks: TypeAlias = Callable[[], Iterator[Pick]]
"""What one axis contributes to the leaves' texts, from the start at each call."""

Walk: TypeAlias = Callable[[Sequence[Picks[Any]], int], Iterator[tuple[Any, ...]]]
"""From the columns to picks of one value from each."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A list, and the static text around its place in a leaf."""

    before: str
    values: tuple[Tree, ...]
    after: str

    def texts(self, value: Tree) -> Iterator[str]:
        """What one of the values contributes to the leaves' texts."""
        return (f"{self.before}{text}{self.after}" for text in leaves(value))


def leaves(tree: Tree, walk: Walk | None = None) -> Iterator[str]:
    """The canonical JSON of every leaf: lazily, and in bounded memory however many there are.

    `walk` may leave some out: it is given a column per axis, and how many of the first ones not to hold.
    """
    varying, template = axes(tree), weave(tree)
    if not varying:
        return iter(template.text)
    pieces = _pieces(template)
    in_file = [at for axis in varying for at, _ in axis]
    places = {at: place for place, at in enumerate(in_file)}
    order = [places[at] for at in pieces]
    picks = _picks([[pieces[at] for at, _ in axis] for axis in varying], excess(varying), walk or product_of)
    return map("".join, picks if order == sorted(order) else map(itemgetter(*order), picks))


def _pieces(template: Template) -> dict[Path, Piece]:
    """Each hole in the order of the text, together with the static text around the holes."""
    *befores, end = template.text
    afters = [""] * (len(befores) - 1) + [end]
    around = zip(befores, template.holes, afters, strict=True)
    return {at: _piece(before, values, after) for before, (at, values), after in around}


def _piece(before: str, values: ValueSet, after: str) -> Piece:
    if not isinstance(values, List):
        raise ValueError("a grid holds no Range")
    return Piece(before, values.values, after)


def _picks(axes: Sequence[Sequence[Piece]], outer: int, walk: Walk) -> Iterator[tuple[str, ...]]:
    """The walk over the axes, each a piece or several that advance together; a text per piece."""
    if all(len(axis) == 1 for axis in axes):
        return walk([_alone(*axis) for axis in axes], outer)
    return map(tuple, map(chain.from_iterable, walk([_together(axis) for axis in axes], outer)))


def _alone(piece: Piece) -> Picks[str]:
    return lambda: (text for value in piece.values for text in piece.texts(value))


def _together(pieces: Sequence[Piece]) -> Picks[tuple[str, ...]]:
    return lambda: (
        texts
        for values in zip(*(piece.values for piece in pieces), strict=True)
        for texts in product(*(piece.texts(value) for piece, value in zip(pieces, values, strict=True)))
    )


def product_of(columns: Sequence[Picks[Pick]], outer: int) -> Iterator[tuple[Pick, ...]]:
    """The product of the columns, of which only those after the first `outer` are held."""
    held = [tuple(column()) for column in columns[outer:]]
    return chain.from_iterable(product(*zip(pick), *held) for pick in _odometer(columns[:outer]))


def _odometer(columns: Sequence[Picks[Pick]]) -> Iterator[tuple[Pick, ...]]:
    """The product of the columns, computed lazily; the last column varies fastest."""
    pick: list[Any] = [None] * (1 + len(columns))  # a wheel before the first, with one empty position
    wheels: list[Iterator[Any]] = [iter((None,))]
    while wheels:
        for text in wheels[-1]:
            pick[len(wheels) - 1] = text
            if len(wheels) <= len(columns):
                wheels.append(columns[len(wheels) - 1]())
                break
            yield tuple(pick[1:])
        else:
            wheels.pop()


def excess(varying: Sequence[Axis]) -> int:
    """How many of the slowest axes to compute anew, so that the texts of the others fit in memory."""
    held = accumulate(length(axis) or 0 for axis in reversed(varying))
    return sum(texts > HELD for texts in held)
