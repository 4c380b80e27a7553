"""Check nodes against their shapes; of value sets, each alternative."""

from typing import NamedTuple, assert_never

from rapidfire_cli.problems import Span, shortened
from rapidfire_cli.shapes import (
    MALFORMED,
    NO_CHOICE,
    OUT_OF_BOUNDS,
    WRONG_TYPE,
    AnyOf,
    Choice,
    Free,
    Integer,
    Items,
    Number,
    OrNull,
    Record,
    Shape,
    Text,
    Variants,
    chosen,
    expected,
    fault,
)
from rapidfire_cli.syntax import hints
from rapidfire_cli.syntax.diagnostics import Diagnostics
from rapidfire_cli.syntax.keys import INEFFECTIVE
from rapidfire_cli.syntax.nodes import Alternatives, Entry, Interval, Mapping, Node, Scalar, Sequence, kind

_HELPED = 100  # assumed: more hints are not read, and a hostile file has 20,000 problems
_MESSAGES = {
    WRONG_TYPE: "{} has the wrong type",
    OUT_OF_BOUNDS: "{} is out of range",
    NO_CHOICE: "invalid value for {}",
    MALFORMED: "invalid value for {}",
}


class Place(NamedTuple):
    """The place of a node in the file."""

    called: str  # in a sentence
    knob: str  # dotted path; empty for a whole file or config
    key: Span  # the span for problems about keys that are missing here
    sets: bool = False  # whether value sets are allowed here

    def below(self, key: str, at: Span) -> "Place":
        """The place of a key's value."""
        knob = f"{self.knob}.{key}" if self.knob else key
        return Place(f"`{knob}`", knob, at, self.sets)

    def item(self, at: Span) -> "Place":
        """The place of an item of the list at this place."""
        return Place(f"an item of {self.called}", self.knob, at, self.sets)


def check_shape(shape: Shape, node: Node, place: Place, diagnostics: Diagnostics) -> None:
    """Note where a node does not have its shape."""
    match shape, node:
        case _, Alternatives(items) if place.sets:
            for item in items:
                check_shape(shape, item, place._replace(key=item.span), diagnostics)
        case _, Interval() if place.sets:
            _check_interval(shape, node, place, diagnostics)
        case _, Alternatives() | Interval():
            diagnostics.error(
                "E301",
                f"{place.called} must be a single value",
                node.span,
                found=kind(node),
                expected=expected(shape),
            )
        case OrNull(inner), Mapping() | Sequence():
            check_shape(inner, node, place, diagnostics)
        case (AnyOf((*_, Items() as inner)), Sequence()) | (AnyOf((Record() as inner, *_)), Mapping()):
            check_shape(inner, node, place, diagnostics)
        case Record(), Mapping():
            _check_record(shape, node, place, diagnostics)
        case Variants(by), Mapping():
            entry = node.get(by)
            word = entry.node.value if entry and isinstance(entry.node, Scalar) else None
            _check_record(chosen(shape, word), node, place, diagnostics, among=shape)
        case Items(least=least), Sequence(items) if len(items) < least:
            _few(shape, node, place, diagnostics)
        case Items(inner), Sequence(items):
            for item in items:
                check_shape(inner, item, place.item(item.span), diagnostics)
        case Free(), Mapping():
            pass
        case _:
            _check_scalar(shape, node, place, diagnostics)


def _check_scalar(shape: Shape, node: Node, place: Place, diagnostics: Diagnostics) -> None:
    code = fault(shape, node.value) if isinstance(node, Scalar) else WRONG_TYPE
    if code is None:
        return
    found = kind(node)
    if isinstance(node, Scalar) and code != WRONG_TYPE:
        found = shortened(f"{node.value}")
    diagnostics.error(
        code,
        _MESSAGES[code].format(place.called),
        node.span,
        found=found,
        expected=expected(shape),
        hint=hints.of_value(shape, node),
    )


def _few(shape: Items, node: Sequence, place: Place, diagnostics: Diagnostics) -> None:
    found, wanted = f"{len(node.items)} items", expected(shape)
    message = _MESSAGES[OUT_OF_BOUNDS].format(place.called)
    diagnostics.error(OUT_OF_BOUNDS, message, node.span, found=found, expected=wanted)


def _check_record(
    shape: Record, node: Mapping, place: Place, diagnostics: Diagnostics, among: Variants | None = None
) -> None:
    for entry in node.entries:
        if entry.key in shape.keys:
            inside = place.below(entry.key, entry.at)
            check_shape(shape.keys[entry.key], entry.node, inside, diagnostics)
            if inside.knob in INEFFECTIVE and not _has_gang(node):
                message = f"{inside.called} has no effect when a run trains on one device"
                diagnostics.warn("W201", message, entry.at, hint=INEFFECTIVE[inside.knob])
        elif not shape.free:
            unknown_key(entry, shape, place.called, diagnostics, among)
    for key in shape.required:
        if node.get(key) is None:
            wanted = f"`{key}`: {expected(shape.keys[key])}"
            diagnostics.missing(
                "E202", f"missing required key `{key}` in {place.called}", place.key, expected=wanted
            )


def _has_gang(config: Mapping) -> bool:
    """Whether the config says on how many devices a run trains, and that is not one."""
    train = config.get("train")
    gpus = train.node.get("gpus") if train and isinstance(train.node, Mapping) else None
    return gpus is not None and not (isinstance(gpus.node, Scalar) and gpus.node.value == 1)


def unknown_key(
    entry: Entry, shape: Record, where: str, diagnostics: Diagnostics, among: Variants | None = None
) -> None:
    """Note a key that the record does not have, which may be one `among` several forms."""
    help_left = len(diagnostics.problems) < _HELPED
    diagnostics.error(
        "E201",
        f"unknown key `{shortened(entry.key)}` in {where}",
        entry.at,
        expected=f"one of {', '.join(shape.keys)}",
        hint=hints.of_unknown_key(entry.key, shape, among) if help_left else shape.hint,
    )


def _check_interval(shape: Shape, node: Interval, place: Place, diagnostics: Diagnostics) -> None:
    match shape:
        case OrNull(inner):
            _check_interval(inner, node, place, diagnostics)
        case Integer() | Number():
            for part in (node.parts.get("start"), node.parts.get("end")):
                if part and kind(part.node) in ("an integer", "a float"):
                    _check_scalar(shape, part.node, place, diagnostics)
            if isinstance(shape, Integer):
                _check_whole(shape, node, place, diagnostics)
        case AnyOf() | Choice() | Text() | Items() | Record() | Free() | Variants():
            _check_scalar(shape, node, place, diagnostics)
        case _:
            assert_never(shape)


def _check_whole(shape: Integer, node: Interval, place: Place, diagnostics: Diagnostics) -> None:
    dtype = node.parts.get("dtype")
    if dtype and isinstance(dtype.node, Scalar) and dtype.node.value == "float":
        message = f"{place.called} must be an integer"
        diagnostics.error(
            "E203", message, dtype.node.span, found="a range of floats", expected=expected(shape)
        )
