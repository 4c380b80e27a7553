"""The productions of values: nodes to trees."""

from collections.abc import Hashable, Iterator
from typing import assert_never

from rapidfire_cli.problems import Span, position
from rapidfire_cli.syntax.ast import List, Range, Tree
from rapidfire_cli.syntax.diagnostics import Diagnostics
from rapidfire_cli.syntax.nodes import Alternatives, Interval, Mapping, Node, Scalar, Sequence, kind_of
from rapidfire_cli.syntax.ranges import interval


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
