"""Compose nodes from parsed parts: rules and limits that all notations share."""

import math
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple, assert_never

from rapidfire_cli.problems import Problem, Span, position, shortened
from rapidfire_cli.syntax.nodes import (
    Alternatives,
    Entry,
    Interval,
    Mapping,
    Node,
    Scalar,
    Sequence,
    kind,
)
from rapidfire_cli.terms import Value

MAX_DEPTH = 64
MAX_NODES = 100_000  # counted as if every alias were written out, for a file of usual size

_FITTING = {
    "!list": "a list",
    "!zip": "a mapping with `with` (the name of the group) and `values` (a list)",
    "!range": "a list of two numbers, or a mapping with start and end",
    "!null": "true",
}
_UNHELD = re.compile("[\0\ud800-\udfff]")  # characters that SQLite or UTF-8 cannot store


class Merge(NamedTuple):
    """YAML's `<<` in the place of a key."""

    span: Span


class Part(NamedTuple):
    """A composed node and what it takes: nodes and levels, aliases written out."""

    node: Node | Merge
    size: int = 1
    height: int = 0


@dataclass(slots=True, eq=False)
class Frame:
    """A collection that is being composed; a mapping's keys and values alternate in `parts`."""

    mapping: bool
    span: Span
    tag: str | None = None
    anchor: str | None = None
    parts: list[Any] = field(default_factory=list)
    size: int = 1
    height: int = 1

    @property
    def expects_key(self) -> bool:
        """Whether the next part is a key."""
        return self.mapping and len(self.parts) % 2 == 0

    def add(self, part: Part) -> None:
        """Take the next part."""
        self.parts.append(part.node)
        self.size += part.size
        if part.height >= self.height:
            self.height = part.height + 1


def scalar(value: Value, span: Span, problems: list[Problem]) -> Scalar:
    """Make a scalar; note values that later stages cannot store."""
    if isinstance(value, float) and not math.isfinite(value):
        problems.append(Problem("E110", "a number must be finite", span, f"{value}", "a finite number"))
    elif isinstance(value, str) and (unheld := _UNHELD.search(value)):
        found = f"U+{ord(unheld.group()):04X}"
        problems.append(Problem("E103", "invalid character in a string", span, found))
    return Scalar(value, span)


def mapping(parts: list[Any], span: Span, problems: list[Problem]) -> Node:
    """Make a mapping of alternating keys and values, or the value of a one-key table (`{"!list": […]}`)."""
    entries: dict[str, Entry] = {}
    merged: dict[str, Entry] = {}
    for key, value in zip(parts[::2], parts[1::2], strict=True):
        name = key.value if isinstance(key, Scalar) else None
        if isinstance(key, Merge):
            _merge(value, merged, problems)
        elif not isinstance(name, str):
            problems.append(_odd_key(key))
        elif name in entries:
            problems.append(twice(name, key.span, entries[name].at))
        else:
            entries[name] = Entry(name, key.span, value)
    whole = Mapping(tuple((merged | entries if merged else entries).values()), span)
    return _twin(whole, problems) if "!" in "".join(entries) else whole


def tagged(tag: str, node: Node, span: Span, problems: list[Problem]) -> Node:
    """The node under a tag of the grammar."""
    match tag, node:
        case "!list", Sequence(items):
            return Alternatives(items, span)
        case "!zip", Mapping() if (zipped := _zipped(node)) is not None:
            return zipped._replace(span=span)
        case "!range", Sequence((start, end)):
            named = (Entry("start", start.span, start), Entry("end", end.span, end))
            return Interval(Mapping(named, node.span), span)
        case "!range", Mapping():
            return Interval(node, span)
        case "!null", Scalar(True):
            return Scalar(None, span)
    problems.append(
        Problem("E108", f"`{tag}` must be followed by {_FITTING[tag]}", span, kind(node), _FITTING[tag])
    )
    return node


def _zipped(node: Mapping) -> Alternatives | None:
    match {entry.key: entry.node for entry in node.entries}:
        case {"with": Scalar(str(label)), "values": Sequence(items), **others} if label and not others:
            return Alternatives(items, node.span, label)
    return None


def unknown_tag(tag: str, span: Span) -> Problem:
    """The problem of a tag outside the grammar."""
    return Problem(
        "E107",
        f"unknown tag `{shortened(tag)}`",
        span,
        expected="`!list`, `!zip`, `!range`, or no tag at all",
    )


def too_deep(span: Span) -> Problem:
    """The problem of one level too many."""
    return Problem("E114", "nested too deeply", span, f"more than {MAX_DEPTH} levels", f"at most {MAX_DEPTH}")


def too_many(span: Span, most: int, hint: str = "--max-spec-bytes raises this limit too") -> Problem:
    """The problem of one node more than `most`."""
    found = f"more than {most:,} values, with aliases expanded"
    return Problem("E115", "too many values", span, found, f"at most {most:,}", hint)


def too_big(text: str, span: Span) -> Problem:
    """The problem of an integer beyond 64 bits."""
    expected = "an integer from -2^63 to 2^63 - 1"
    return Problem("E109", "integer does not fit in 64 bits", span, shortened(text), expected)


def nothing(span: Span) -> Problem:
    """The problem of a text without a value."""
    return Problem("E116", "the file is empty", span, expected="an experiment")


def twice(key: str, span: Span, first: Span) -> Problem:
    """The problem of a duplicate key."""
    hint = f"the first one is at {position(first)}"
    return Problem("E105", f"duplicate key `{shortened(key)}`", span, hint=hint)


def _twin(whole: Mapping, problems: list[Problem]) -> Node:
    if len(whole.entries) == 1 and whole.entries[0].key in _FITTING:
        (entry,) = whole.entries
        return tagged(entry.key, entry.node, whole.span, problems)
    for entry in whole.entries:
        if entry.key in _FITTING:
            expected = f'{{"{entry.key}": …}} without other keys'
            problems.append(
                Problem(
                    "E108", f"`{entry.key}` must be the only key of its table", entry.at, expected=expected
                )
            )
        elif entry.key.startswith("!"):
            problems.append(unknown_tag(entry.key, entry.at))
    return whole


def _merge(value: Node, into: dict[str, Entry], problems: list[Problem]) -> None:
    match value:
        case Mapping(entries):
            into.update({entry.key: entry for entry in entries if entry.key not in into})
        case Sequence(items) if all(isinstance(item, Mapping) for item in items):
            for item in items:
                _merge(item, into, problems)
        case Scalar() | Sequence() | Alternatives() | Interval():
            expected = "a mapping, or a list of mappings"
            problems.append(Problem("E112", "`<<` needs a mapping", value.span, kind(value), expected))
        case _:
            assert_never(value)


def _odd_key(key: Node) -> Problem:
    hint = "put it in quotes" if isinstance(key, Scalar) else ""
    return Problem("E106", "keys must be strings", key.span, kind(key), "a string", hint)
