"""Evaluate a condition on a leaf config: true, false, or no answer.

It says nothing where a knob is absent, where the types do not fit (`"a" < 1`, `not 3`), and where arithmetic
has no finite result. Equality always answers: values of different kinds differ, integers and floats are one
kind. `and` and `or` answer where the parts that answer suffice (Kleene's logic).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from operator import add, floordiv, ge, gt, le, lt, mod, mul, sub, truediv
from typing import Any, TypeAlias, assert_never

from rapidfire_cli.manifest.knob_paths import ABSENT, Absent
from rapidfire_cli.syntax.conditions.tree import (
    And,
    Arithmetic,
    Comparator,
    Comparison,
    Constant,
    Expression,
    Items,
    Knob,
    Negative,
    Not,
    Operator,
    Or,
    constant,
)
from rapidfire_cli.terms import Plain

Answer: TypeAlias = "Plain | Absent"
"""What a part of a condition comes to; ABSENT where it says nothing."""

Reading: TypeAlias = Sequence[Answer]
"""The values of the knobs that conditions name, in an order agreed on."""

Question: TypeAlias = Callable[[Reading], Answer]

ARITHMETIC: Mapping[Operator, Callable[[Any, Any], int | float]] = {
    "+": add,
    "-": sub,
    "*": mul,
    "/": truediv,
    "//": floordiv,
    "%": mod,
}
ORDERS: Mapping[Comparator, Callable[[Any, Any], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}


def question(expression: Expression, places: Mapping[str, int]) -> Question:
    """The expression as a function of a reading; `places` says where in it each knob stands."""
    match expression:
        case Constant(value):
            return lambda _: value
        case Knob(path):
            place = places[path]
            return lambda reading: reading[place]
        case Items(items) if constant(items):
            held: list[Plain] = [item.value for item in items if isinstance(item, Constant)]
            return lambda _: held
        case Items(items):
            each = [question(item, places) for item in items]
            return lambda reading: _items([ask(reading) for ask in each])
        case Negative(operand):
            return _arithmetic(Constant(0), (("-", operand),), places)
        case Arithmetic(first, others):
            return _arithmetic(first, others, places)
        case Comparison(first, others):
            return _comparison(first, others, places)
        case Not(operand):
            ask = question(operand, places)
            return lambda reading: not answer if isinstance(answer := ask(reading), bool) else ABSENT
        case And(parts):
            return _joined(False, [question(part, places) for part in parts])
        case Or(parts):
            return _joined(True, [question(part, places) for part in parts])
    assert_never(expression)


def _joined(settles: bool, parts: Sequence[Question]) -> Question:
    """`or` is true as soon as a part is, `and` false; else every part must answer."""

    def ask(reading: Reading) -> Answer:
        answers = [part(reading) for part in parts]
        if any(answer is settles for answer in answers):
            return settles
        return not settles if all(isinstance(answer, bool) for answer in answers) else ABSENT

    return ask


def _comparison(
    first: Expression, others: Sequence[tuple[Comparator, Expression]], places: Mapping[str, int]
) -> Question:
    links = []
    for comparator, right in others:
        links.append(_link(comparator, first, right, places))
        first = right
    return links[0] if len(links) == 1 else _joined(False, links)


def _link(
    comparator: Comparator, first: Expression, second: Expression, places: Mapping[str, int]
) -> Question:
    left, right = question(first, places), question(second, places)
    match comparator, second:
        case (("in" | "not in"), Items(items)) if constant(items):
            return _among(left, items, comparator == "in")

    def ask(reading: Reading) -> Answer:
        one, other = left(reading), right(reading)
        if one is ABSENT or other is ABSENT:
            return ABSENT
        return compared(comparator, one, other)

    return ask


def _among(left: Question, items: Sequence[Expression], wanted: bool) -> Question:
    """Whether a value is one of the constants, with one lookup."""
    known = {_mark(item.value) for item in items if isinstance(item, Constant)}

    def ask(reading: Reading) -> Answer:
        value = left(reading)
        if isinstance(value, Absent | list | dict):
            return ABSENT if value is ABSENT else not wanted
        return (_mark(value) in known) is wanted

    return ask


def _mark(value: Plain) -> tuple[str, Plain]:
    """Equal for scalars that are `equal`."""
    return "number" if _is_number(value) else type(value).__name__, value


def compared(comparator: Comparator, one: Plain, other: Plain) -> bool | Absent:
    """What comparing two values says."""
    match comparator:
        case "==":
            return equal(one, other)
        case "!=":
            return not equal(one, other)
        case "in":
            return _contains(other, one)
        case "not in":
            held = _contains(other, one)
            return ABSENT if held is ABSENT else not held
    fits = (_is_number(one) and _is_number(other)) or (isinstance(one, str) and isinstance(other, str))
    return ORDERS[comparator](one, other) if fits else ABSENT


def equal(one: Plain, other: Plain) -> bool:
    """Whether two values are the same: 1 and 1.0 are, 1 and true are not."""
    match one, other:
        case list(), list():
            return len(one) == len(other) and all(map(equal, one, other))
        case dict(), dict():
            return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
        case _:
            return (type(one) is type(other) or (_is_number(one) and _is_number(other))) and one == other


def _contains(held: Plain, value: Plain) -> bool | Absent:
    match held, value:
        case list(), _:
            return any(equal(item, value) for item in held)
        case str(), str():
            return value in held
    return ABSENT


def _items(values: Sequence[Answer]) -> Answer:
    found = [value for value in values if not isinstance(value, Absent)]
    return found if len(found) == len(values) else ABSENT


def _arithmetic(
    first: Expression, others: Sequence[tuple[Operator, Expression]], places: Mapping[str, int]
) -> Question:
    start = question(first, places)
    steps = [(ARITHMETIC[operator], question(other, places)) for operator, other in others]

    def ask(reading: Reading) -> Answer:
        value = start(reading)
        for operate, operand in steps:
            value = _operated(operate, value, operand(reading))
        return value

    return ask


def _operated(operate: Callable[[Any, Any], int | float], one: Answer, other: Answer) -> int | float | Absent:
    if not (_is_number(one) and _is_number(other)):
        return ABSENT
    try:
        result = operate(one, other)
        return result if math.isfinite(result) else ABSENT
    except ArithmeticError:
        return ABSENT


def _is_number(value: Answer) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
