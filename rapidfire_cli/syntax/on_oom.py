"""The productions of `execution.on_oom`: how a run is changed after it ran out of memory."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from rapidfire_cli.problems import Span, did_you_mean, position, shortened
from rapidfire_cli.shapes import (
    AnyOf,
    Free,
    Integer,
    Items,
    Number,
    OrNull,
    Record,
    Shape,
    expected,
)
from rapidfire_cli.syntax.check import Place, check_shape
from rapidfire_cli.syntax.diagnostics import Diagnostics
from rapidfire_cli.syntax.keys import TRAIN
from rapidfire_cli.syntax.nodes import Entry, Mapping, Node, Scalar, kind
from rapidfire_cli.syntax.values import value_sets
from rapidfire_cli.terms import Plain

SECTIONS = ("train", "user_knobs")
"""The sections whose knobs a change may name."""

EXPECTED = "/N or *N with an integer N of at least 2, or a value"

_SCALE = re.compile(r"([/*])([2-9]|[1-9]\d{1,8})")


class Scale(NamedTuple):
    """A change of a number; any other change is the knob's new value."""

    divides: bool
    by: int  # 2, 3, …


def scale(change: Plain) -> Scale | None:
    """scale := (`/` | `*`) integer, of at least 2; None where the change is none."""
    found = _SCALE.fullmatch(change) if isinstance(change, str) else None
    return Scale(found[1] == "/", int(found[2])) if found else None


def flat(changes: dict[str, Plain], above: str = "") -> Iterator[tuple[str, Plain]]:
    """The changes by dotted path, whether their paths were written in one or key below key."""
    for key, change in changes.items():
        if isinstance(change, dict) and change:
            yield from flat(change, f"{above}{key}.")
        else:
            yield f"{above}{key}", change


def check_on_oom(node: Node, diagnostics: Diagnostics) -> None:
    """on_oom := `{` (path `:` (scale | value) | key `:` on_oom)… `}`.

    A file changes a knob once; one that extends it, or the command line, may say it again and wins.
    """
    for found in value_sets(node):
        diagnostics.error(
            "E301", "a change must be a single value", found.span, found=kind(found), expected=EXPECTED
        )
    seen: dict[str, Span] = {}
    for knob, entry in _entries(node):
        first, seen[knob] = seen.get(knob, entry.at), entry.at
        if first is not entry.at and first.file == entry.at.file:
            hint = f"the first one is at {position(first)}"
            diagnostics.error("E105", f"`{shortened(knob)}` is changed twice", entry.at, hint=hint)
        _check_change(knob, entry, diagnostics)


def _entries(node: Node, above: str = "") -> Iterator[tuple[str, Entry]]:
    """The same as `flat`, for nodes."""
    for entry in node.entries if isinstance(node, Mapping) else ():
        if isinstance(entry.node, Mapping) and entry.node.entries:
            yield from _entries(entry.node, f"{above}{entry.key}.")
        else:
            yield f"{above}{entry.key}", entry


def _check_change(knob: str, entry: Entry, diagnostics: Diagnostics) -> None:
    shape = shape_of(knob)
    if shape is None:
        _refuse(knob, entry, diagnostics)
    elif isinstance(entry.node, Scalar) and str(entry.node.value).startswith(("/", "*")):
        _check_scale(knob, shape, entry.node, diagnostics)
    elif knob.startswith("train.") and not isinstance(shape, Free):
        check_shape(shape, entry.node, Place(f"`{knob}`", knob, entry.at), diagnostics)


def _refuse(knob: str, entry: Entry, diagnostics: Diagnostics) -> None:
    section, _, rest = knob.partition(".")
    if knob == "train.epochs":
        hint = "epochs do not affect memory, and early stopping compares runs of equal length"
        diagnostics.error("E351", "on_oom cannot change `train.epochs`", entry.at, hint=hint)
    elif knob == "train.gpus":
        hint = "a run keeps its devices; change `train.batch_size`"
        diagnostics.error("E351", "on_oom cannot change `train.gpus`", entry.at, hint=hint)
    elif section not in SECTIONS or not rest:
        wanted = f"a knob under {' or '.join(f'`{each}`' for each in SECTIONS)}, such as `train.batch_size`"
        diagnostics.error("E351", f"on_oom cannot change `{shortened(knob)}`", entry.at, expected=wanted)
    else:
        hint = did_you_mean(knob, [f"train.{key}" for key in TRAIN.keys]) or TRAIN.hint
        diagnostics.error("E351", f"unknown knob `{shortened(knob)}`", entry.at, hint=hint)


def _check_scale(knob: str, shape: Shape, node: Scalar, diagnostics: Diagnostics) -> None:
    said = f"{node.value}"
    if scale(node.value) is None:
        message = f"invalid change `{shortened(said)}`"
        diagnostics.error("E350", message, node.span, found=shortened(said), expected=EXPECTED)
    elif not isinstance(shape.shape if isinstance(shape, OrNull) else shape, Integer | Number | Free):
        message = f"`{knob}` is not a number"
        diagnostics.error("E350", message, node.span, found=said, expected=expected(shape))


def shape_of(knob: str) -> Shape | None:
    """The shape of a knob; None if on_oom cannot change it."""
    section, _, rest = knob.partition(".")
    if not rest or section not in SECTIONS or knob in ("train.epochs", "train.gpus"):
        return None
    return _below(TRAIN, rest.split(".")) if section == "train" else Free()


def _below(shape: Shape, steps: list[str]) -> Shape | None:
    match shape, steps:
        case (_, []) | (Free(), _):
            return shape
        case OrNull(inner), _:
            return _below(inner, steps)
        case AnyOf(shapes), _:
            return next((found for inner in shapes if (found := _below(inner, steps)) is not None), None)
        case Items(inner), [index, *rest] if index.isdecimal():
            return _below(inner, rest)
        case Record(keys), [key, *rest] if key in keys:
            return _below(keys[key], rest)
        case Record(free=True), _:
            return Free()
    return None
