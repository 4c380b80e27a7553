"""Check `!zip` groups: each needs two members, with equally many values."""

from collections.abc import Hashable
from typing import assert_never

from rapidfire_cli.problems import Span, did_you_mean, position
from rapidfire_cli.syntax.diagnostics import Diagnostics
from rapidfire_cli.syntax.nodes import Alternatives, Interval, Mapping, Node, Scalar, Sequence
from rapidfire_cli.syntax.values import identity, tree

_FEW = 100  # assumed: more labels are not compared for a hint

Context = dict[str, list[Alternatives]]
"""The lists by label that every leaf has, or every leaf of one alternative."""


def check_zips(node: Node, diagnostics: Diagnostics) -> None:
    """Note every invalid `!zip` of a config, or of an alternative."""
    context: Context = {}
    _gather(node, context, diagnostics)
    for label, lists in context.items():
        first, *others = lists
        if not others:
            _alone(first, label, context, diagnostics)
        elif uneven := next((each for each in others if len(each.items) != len(first.items)), None):
            _uneven(first, uneven, diagnostics)
        else:
            _check_twice(lists, diagnostics)


def _gather(node: Node, context: Context, diagnostics: Diagnostics) -> None:
    """Fill the context; each alternative is a context of its own."""
    match node:
        case Mapping(entries):
            for entry in entries:
                _gather(entry.node, context, diagnostics)
        case Sequence(items):
            for item in items:
                _gather(item, context, diagnostics)
        case Alternatives(items, _, label):
            if label is not None:
                context.setdefault(label, []).append(node)
            for item in items:
                check_zips(item, diagnostics)
        case Scalar() | Interval():
            pass
        case _:
            assert_never(node)


def _alone(zipped: Alternatives, label: str, context: Context, diagnostics: Diagnostics) -> None:
    near = context if len(context) < _FEW else ()
    diagnostics.error(
        "E311",
        f"`!zip` group `{label}` has no second member",
        zipped.span,
        expected=f"another `!zip` with `{label}` in the same config or alternative",
        hint=did_you_mean(label, (other for other in near if other != label))
        or "use `!list` for a knob that varies on its own",
    )


def _uneven(first: Alternatives, other: Alternatives, diagnostics: Diagnostics) -> None:
    diagnostics.error(
        "E312",
        "the lists of a `!zip` group differ in length",
        other.span,
        found=_counted(len(other.items)),
        expected=f"{_counted(len(first.items))}, as at {position(first.span)}",
    )


def _counted(values: int) -> str:
    return f"{values} value" if values == 1 else f"{values} values"


def _check_twice(lists: list[Alternatives], diagnostics: Diagnostics) -> None:
    """Note duplicate combinations: they would be the same run twice."""
    seen: dict[Hashable, Span] = {}
    for items in zip(*(each.items for each in lists), strict=True):
        together = tuple(identity(tree(item, Diagnostics())) for item in items)
        first = seen.setdefault(together, items[0].span)
        if first is not items[0].span:
            hint = f"the first ones are at {position(first)}"
            diagnostics.error("E304", "duplicate values in a `!zip` group", items[0].span, hint=hint)
