"""A template: a config's canonical JSON with holes for its value sets, built once and then only filled in."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from rapidfire_cli.syntax.ast import List, Path, Range, Tree
from rapidfire_cli.terms import canonical

ValueSet: TypeAlias = List | Range
Hole: TypeAlias = tuple[Path, ValueSet]
"""A value set and where in the config it stands."""


Axis: TypeAlias = tuple[Hole, ...]
"""Value sets that advance together; mostly one."""


@dataclass(frozen=True, slots=True)
class Template:
    """Canonical text around holes: text[0] holes[0] text[1] … holes[-1] text[-1]."""

    text: tuple[str, ...]  # one more than holes
    holes: tuple[Hole, ...]  # in the order of canonical JSON: keys sorted


def weave(tree: Tree) -> Template:
    """The template of a config; without value sets it is the config's whole canonical text."""
    text: list[list[str]] = [[]]
    holes: list[Hole] = []
    for piece in _pieces(tree, ()):
        if isinstance(piece, str):
            text[-1].append(piece)
        else:
            holes.append(piece)
            text.append([])
    return Template(tuple(map("".join, text)), tuple(holes))


def holes(tree: Tree, at: Path = ()) -> Iterator[Hole]:
    """The outermost value sets of a config in file order."""
    match tree:
        case List() | Range():
            yield at, tree
        case dict():
            for key, value in tree.items():
                yield from holes(value, (*at, key))
        case list():
            for index, value in enumerate(tree):
                yield from holes(value, (*at, index))


def axes(tree: Tree) -> tuple[Axis, ...]:
    """What varies by itself in a config, in file order: a value set, or lists that advance together."""
    found: dict[Path | str, list[Hole]] = {}
    for at, values in holes(tree):
        label = values.label if isinstance(values, List) else None
        found.setdefault(at if label is None else label, []).append((at, values))
    return tuple(map(tuple, found.values()))


def _pieces(tree: Tree, at: Path) -> Iterator[str | Hole]:
    match tree:
        case List() | Range():
            yield at, tree
        case dict():
            yield "{"
            for place, key in enumerate(sorted(tree)):
                yield f"{',' if place else ''}{canonical(key)}:"
                yield from _pieces(tree[key], (*at, key))
            yield "}"
        case list():
            yield "["
            for index, value in enumerate(tree):
                yield "," if index else ""
                yield from _pieces(value, (*at, index))
            yield "]"
        case _:
            yield canonical(tree)
