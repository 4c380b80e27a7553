"""Nodes: a file's text as data that knows where it was written, the same for every notation.

NamedTuples: files hold them by the ten thousand, and a dataclass takes twice as long to make.
"""

from collections.abc import Collection
from collections.abc import Mapping as Dictionary
from typing import NamedTuple, TypeAlias, assert_never

from rapidfire_cli.problems import Problem, Span


class Scalar(NamedTuple):
    """One value without parts."""

    value: None | bool | int | float | str
    span: Span


class Sequence(NamedTuple):
    """Nodes in order."""

    items: "tuple[Node, ...]"
    span: Span


class Entry(NamedTuple):
    """A key, where it was written, and its value."""

    key: str
    at: Span
    node: "Node"


class Mapping(NamedTuple):
    """Entries in file order, each key once."""

    entries: tuple[Entry, ...]
    span: Span

    def get(self, key: str) -> Entry | None:
        """The entry with this key."""
        return next((entry for entry in self.entries if entry.key == key), None)

    def split(self, keys: Collection[str]) -> "tuple[Mapping, Mapping]":
        """The entries with these keys, and the others."""
        among = tuple(entry for entry in self.entries if entry.key in keys)
        others = tuple(entry for entry in self.entries if entry.key not in keys)
        return Mapping(among, self.span), Mapping(others, self.span)


class Alternatives(NamedTuple):
    """A `!list` as written, or a `!zip`, whose label the lists share that advance with it."""

    items: "tuple[Node, ...]"
    span: Span
    label: str | None = None


class Interval(NamedTuple):
    """A `!range` as written, its two ends named."""

    parts: Mapping
    span: Span


Node: TypeAlias = Scalar | Sequence | Mapping | Alternatives | Interval


Places: TypeAlias = Dictionary[tuple[str | int, ...], tuple[Span, Span]]
"""By its path, where each key and its value stand."""


class Document(NamedTuple):
    """A file's root node, with the problems that did not keep it from being read."""

    root: Node
    problems: tuple[Problem, ...] = ()
    places: tuple[Places, ...] = ()  # of TOML


def kind(node: Node) -> str:
    """What a person would call it, as in "found a string"."""
    match node:
        case Scalar(value):
            return kind_of(value)
        case Sequence():
            return "a list"
        case Mapping():
            return "a mapping"
        case Alternatives(label=label):
            return "a value set (!list)" if label is None else "a value set (!zip)"
        case Interval():
            return "a value set (!range)"
    assert_never(node)


def kind_of(value: None | bool | int | float | str) -> str:
    """What a person would call a scalar value."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a float"
        case str():
            return "a string"
