"""The productions of values: nodes to trees."""

from collections.abc import Hashable, Iterator
from typing import Any, assert_never

from rapidfire_cli.problems import Span, position
from rapidfire_cli.syntax.ast import List, Range, Tree
from rapidfire_cli.syntax.check import Place, check_shape
from rapidfire_cli.syntax.diagnostics import Diagnostics
from rapidfire_cli.syntax.keys import RANGE
from rapidfire_cli.syntax.nodes import Alternatives, Interval, Mapping, Node, Scalar, Sequence, kind_of


def tree(node: Node, diagnostics: Diagnostics) -> Tree:
    """value := scalar | `[` value… `]` | `{` key `:` value… `}` | list | range."""
    match node:
        case Scalar(value):
            return value
        case Sequence(items):
            return [tree(item, diagnostics) for item in items]
        case Mapping(entries):
            return {entry.key: tree(entry.node, diagnostics) for entry in entries}
        case Alternatives():
            return alternatives(node, diagnostics)
        case Interval():
            return interval(node, diagnostics)
    assert_never(node)


def alternatives(node: Alternatives, diagnostics: Diagnostics) -> List:
    """list := `!list` `[` value… `]` | `!zip` `{` `with:` name `values:` `[` value… `]` `}`.

    The values are of one type; those of a `!list` differ.
    """
    trees = tuple(tree(item, diagnostics) for item in node.items)
    if not trees:
        diagnostics.error(
            "E302", "a value set needs at least one value", node.span, expected="at least one value"
        )
    _check_types(node, trees, diagnostics)
    if node.label is None:
        _check_twice(node, trees, diagnostics)
    return List(trees, node.label)


def value_sets(node: Node) -> Iterator[Alternatives | Interval]:
    """Every value set at or below a node, in file order."""
    match node:
        case Alternatives(items) | Sequence(items):
            if isinstance(node, Alternatives):
                yield node
            for item in items:
                yield from value_sets(item)
        case Mapping(entries):
            for entry in entries:
                yield from value_sets(entry.node)
        case Interval():
            yield node
        case Scalar():
            pass
        case _:
            assert_never(node)


def _check_types(node: Alternatives, trees: tuple[Tree, ...], diagnostics: Diagnostics) -> None:
    types = [_types(value) for value in trees]
    all_types = frozenset().union(*types)
    if len(all_types) < 2 or any(len(found) > 1 for found in types):  # already reported for the inner value
        return
    wanted = "a float" if all_types == {"an integer", "a float"} else next(iter(next(filter(None, types))))
    odd = next(index for index, found in enumerate(types) if found - {wanted})
    value, item = trees[odd], node.items[odd]
    diagnostics.error(
        "E303",
        "values of a list must have one type",
        item.span,
        found=" and ".join(sorted(types[odd])),
        expected=f"{wanted}, like the others",
        hint=f"write {value}.0" if wanted == "a float" and isinstance(value, int) else "",
    )


def _check_twice(node: Alternatives, trees: tuple[Tree, ...], diagnostics: Diagnostics) -> None:
    seen: dict[Hashable, Span] = {}
    for item, value in zip(node.items, trees, strict=True):
        first = seen.setdefault(identity(value), item.span)
        if first is not item.span:
            hint = f"the first one is at {position(first)}"
            diagnostics.error("E304", "duplicate value in a list", item.span, hint=hint)


def identity(value: Tree) -> Hashable:
    """A key that is equal for equal values only; 1, 1.0 and true differ."""
    match value:
        case list():
            return ("list", *map(identity, value))
        case dict():
            return frozenset((key, identity(inner)) for key, inner in value.items())
        case List(values):
            return (List, frozenset(map(identity, values)))
        case _:
            return (type(value), value)


def _types(value: Tree) -> frozenset[str]:
    """The types that the value may have; none for null, which is allowed beside any type."""
    match value:
        case None:
            return frozenset()
        case list():
            return frozenset(["a list"])
        case dict():
            return frozenset(["a mapping"])
        case List(values):
            return frozenset().union(*map(_types, values))
        case Range(dtype=dtype):
            return frozenset(["an integer" if dtype == "int" else "a float"])
        case _:
            return frozenset([kind_of(value)])


_FRACTIONLESS = ("start", "end", "step")


def interval(node: Interval, diagnostics: Diagnostics) -> Range | None:
    """range := `!range` ( `[` start `,` end `]` | `{` start end [dtype] [log] [step] `}` ).

    None when it is wrong, which is then noted.
    """
    before = diagnostics.errors
    check_shape(RANGE, node.parts, Place("`!range`", "!range", node.span), diagnostics)
    if diagnostics.errors > before:
        return None
    given = _values(node)
    given.setdefault("dtype", _inferred(given))
    _check_numbers(node, given, diagnostics)
    if diagnostics.errors > before:
        return None
    _warn(node, given, diagnostics)
    return _range(given)


def _values(node: Interval) -> dict[str, Any]:
    return {entry.key: entry.node.value for entry in node.parts.entries if isinstance(entry.node, Scalar)}


def _inferred(given: dict[str, Any]) -> str:
    return "int" if isinstance(given["start"], int) and isinstance(given["end"], int) else "float"


def _check_numbers(node: Interval, given: dict[str, Any], diagnostics: Diagnostics) -> None:
    for entry in node.parts.entries:
        value = given[entry.key]
        if given["dtype"] == "int" and entry.key in _FRACTIONLESS and isinstance(value, float):
            hint = f"write {int(value)}" if value.is_integer() else "write `dtype: float`"
            diagnostics.error(
                "E305",
                f"`{entry.key}` of an integer range must be an integer",
                entry.node.span,
                found=f"{value!r}",
                expected="an integer",
                hint=hint,
            )
        elif given.get("log") and entry.key in ("start", "end") and value <= 0:
            message = "a logarithmic range must start above 0"
            diagnostics.error(
                "E307", message, entry.node.span, found=f"{value!r}", expected="a number above 0"
            )
        elif given.get("log") and entry.key == "step":
            hint = "remove one of them"
            diagnostics.error("E306", "a logarithmic range cannot have a `step`", entry.at, hint=hint)


def _warn(node: Interval, given: dict[str, Any], diagnostics: Diagnostics) -> None:
    start, end = given["start"], given["end"]
    if start > end:
        hint = f"it is read as [{end!r}, {start!r}]"
        diagnostics.warn("W301", "reversed range", node.span, hint=hint)
    if (start, end) == (0, 1) and given["dtype"] == "int" and node.parts.get("dtype") is None:
        hint = (
            "write [0.0, 1.0] to include the numbers between, or add `dtype: int` if only 0 and 1 are meant"
        )
        diagnostics.warn("W302", "this range contains only the integers 0 and 1", node.span, hint=hint)


def _range(given: dict[str, Any]) -> Range:
    number = int if given["dtype"] == "int" else float
    start, end = sorted((number(given["start"]), number(given["end"])))
    step = None if "step" not in given else number(given["step"])
    return Range(start, end, given["dtype"], given.get("log", False), step)
