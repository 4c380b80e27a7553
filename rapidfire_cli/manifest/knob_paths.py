"""The knobs of a leaf config by their dotted paths."""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final

from rapidfire_cli.syntax.ast import Path, is_value
from rapidfire_cli.terms import LeafConfig, Plain


class Absent(Enum):
    """In place of a knob's value where a leaf config lacks the knob."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


def dotted(path: Path) -> str:
    """The path as people write it: `train.optimizer.args.lr`."""
    return ".".join(map(str, path))


def knobs(value: Plain, at: Path = ()) -> Iterator[tuple[Path, Plain]]:
    """Every knob and its value, in order."""
    match value:
        case dict() if value or not at:
            for key, item in value.items():
                yield from knobs(item, (*at, key))
        case list() if not is_value(value):
            for index, item in enumerate(value):
                yield from knobs(item, (*at, index))
        case _:
            yield at, value


def cell(leaf: "LeafConfig | Plain", knob: str) -> "Plain | Absent":
    """The value at the dotted path; keys may hold dots of their own."""
    whole = _child(leaf, knob)
    if whole is not ABSENT:
        return whole
    steps = knob.split(".")
    for length in range(1, len(steps)):
        child = _child(leaf, ".".join(steps[:length]))
        found = ABSENT if child is ABSENT else cell(child, ".".join(steps[length:]))
        if found is not ABSENT:
            return found
    return ABSENT


def _child(value: "LeafConfig | Plain", key: str) -> "Plain | Absent":
    match value:
        case Mapping():
            return value.get(key, ABSENT)
        case list() if key.isdecimal() and int(key) < len(value):
            return value[int(key)]
        case _:
            return ABSENT
