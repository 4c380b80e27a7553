"""Shapes: what an experiment file may contain, as data.

NamedTuples: nine of them add 0.5 ms to every command's start, nine dataclasses 4.5 ms (measured).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias, assert_never

from rapidfire_cli.terms import Value


class Integer(NamedTuple):
    """A whole number within bounds."""

    least: int
    below: int | None = None


class Number(NamedTuple):
    """An integer or a float: any, above a bound, at least a bound, at most a bound."""

    above: float | None = None
    least: float | None = None
    most: float | None = None


class Choice(NamedTuple):
    """One of a few words, or of the booleans."""

    words: tuple[str, ...] | tuple[bool, ...]


class Text(NamedTuple):
    """A string that the pattern matches as a whole."""

    expected: str
    pattern: str = r"(?s:.+)"
    hint: str = ""


class AnyOf(NamedTuple):
    """One of several shapes; a mapping's, if any, is the first, a list's the last."""

    shapes: "tuple[Integer | Choice | Text | Items | Record, ...]"


class OrNull(NamedTuple):
    """A shape, or null."""

    shape: "Shape"


class Items(NamedTuple):
    """A list whose items have one shape."""

    shape: "Shape"
    least: int = 0  # items


class Record(NamedTuple):
    """A mapping of known keys; `hint` is shown for unknown ones, unless those are free."""

    keys: "Mapping[str, Shape]"
    required: tuple[str, ...] = ()
    hint: str = ""
    free: bool = False  # any other key may have any value


class Free(NamedTuple):
    """A mapping of any keys to any values."""


class Form(NamedTuple):
    """One of several records, and what a schema says about it and its keys."""

    record: Record
    about: str
    notes: Mapping[str, str]  # by key
    defaults: Mapping[str, Value]  # by key


class Variants(NamedTuple):
    """A mapping with a key that chooses its form, such as `rule:`."""

    by: str
    forms: Callable[[], Mapping[str, Form]]  # by word; loaded only for files that have such a mapping


Shape: TypeAlias = Integer | Number | Choice | Text | AnyOf | OrNull | Items | Record | Free | Variants

FLAG = Choice((True, False))
METRIC = Text(
    "a metric name (in topK_accuracy, K is at least 1)",
    r"(?!top(-?\d*|[kKnN]|\[[kKnN]\])_accuracy$).+|top[1-9]\d*_accuracy",
    hint="top1_accuracy is plain accuracy",
)
DIRECTION = Choice(("min", "max"))

WRONG_TYPE, OUT_OF_BOUNDS, NO_CHOICE, MALFORMED = "E203", "E204", "E205", "E206"


def chosen(shape: Variants, word: Value) -> Record:
    """The record of the form with this word; one with the keys of every form if there is none."""
    forms = shape.forms()
    records = [forms[word].record] if isinstance(word, str) and word in forms else []
    records = records or [form.record for form in forms.values()]
    keys = {key: inner for record in records for key, inner in record.keys.items()}
    required = [key for key in keys if all(key in record.required for record in records)]
    return Record({shape.by: Choice(tuple(forms)), **keys}, (shape.by, *required))


def fault(shape: Shape, value: Value) -> str | None:
    """The code of the problem with a scalar; None when it matches the shape."""
    match shape, value:
        case OrNull(inner), _:
            return None if value is None else fault(inner, value)
        case AnyOf(shapes), _:
            faults = [fault(inner, value) for inner in shapes]
            return None if None in faults else max(code for code in faults if code)
        case _, bool() if shape != FLAG:
            return WRONG_TYPE
        case Integer(least, below), int():
            return None if least <= value and (below is None or value < below) else OUT_OF_BOUNDS
        case Number(above, least_number, most), int() | float():
            within = (above is None or value > above) and (least_number is None or value >= least_number)
            return None if within and (most is None or value <= most) else OUT_OF_BOUNDS
        case Choice(words), str() | bool() if type(value) is type(words[0]):
            return None if value in words else NO_CHOICE
        case Text(_, pattern), str():
            return None if re.fullmatch(pattern, value) else MALFORMED
    return WRONG_TYPE


def expected(shape: Shape) -> str:
    """The shape in words, as in "expected: an integer of at least 1"."""
    match shape:
        case Integer(least, below):
            return f"an integer of at least {least}" + (f" and below {below:,}" if below else "")
        case Number(above, least, most):
            bound = f" above {above:g}" if above is not None else ""
            lower = f" of at least {least:g}" if least is not None else bound
            return f"a number{lower}" + (f" and at most {most:g}" if most is not None else "")
        case Choice(words):
            return alternatives([str(word).lower() if isinstance(word, bool) else word for word in words])
        case Text(text):
            return text
        case AnyOf((one, Items(item))) if one == item:
            return f"{expected(one)}, or a list of them"
        case AnyOf(shapes):
            return alternatives([expected(inner) for inner in shapes])
        case OrNull(inner):
            return f"{expected(inner)}, or null"
        case Items(inner, least):
            return f"a list{f' of at least {least}' if least else ''}, each item {expected(inner)}"
        case Record(keys, free=free):
            return f"a mapping with {', '.join(keys)}" + (" and others" if free else "")
        case Free():
            return "a mapping"
        case Variants(by, forms):
            return f"a mapping with {alternatives([f'`{by}: {word}`' for word in forms()])}"
    assert_never(shape)


def alternatives(words: Sequence[str]) -> str:
    """`a, b or c`."""
    return " or ".join(", ".join(words).rsplit(", ", 1))
