"""The AST of conditions. Chains such as `a and b and c` are flat, so that long ones do not recurse."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, assert_never

Comparator: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"]
Operator: TypeAlias = Literal["+", "-", "*", "/", "//", "%"]


@dataclass(frozen=True, slots=True)
class Constant:
    """A value written in the condition."""

    value: None | bool | int | float | str


@dataclass(frozen=True, slots=True)
class Knob:
    """The value that a leaf config has at a dotted path."""

    path: str
    at: int = field(default=0, compare=False)  # where it is written: characters before it, and its own
    width: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: "tuple[Expression, ...]"


@dataclass(frozen=True, slots=True)
class Negative:
    """`- value`."""

    operand: "Expression"


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Operators of one precedence, from left to right: `first + a - b`."""

    first: "Expression"
    others: "tuple[tuple[Operator, Expression], ...]"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`first < a <= b`: each neighbour with the next."""

    first: "Expression"
    others: "tuple[tuple[Comparator, Expression], ...]"


@dataclass(frozen=True, slots=True)
class Not:
    """`not condition`."""

    operand: "Expression"


@dataclass(frozen=True, slots=True)
class And:
    """`a and b and c`."""

    parts: "tuple[Expression, ...]"


@dataclass(frozen=True, slots=True)
class Or:
    """`a or b or c`."""

    parts: "tuple[Expression, ...]"


Expression: TypeAlias = Constant | Knob | Items | Negative | Arithmetic | Comparison | Not | And | Or


def knobs(expression: Expression) -> Iterator[Knob]:
    """Every knob that the expression names, in the order of its text."""
    match expression:
        case Constant():
            pass
        case Knob():
            yield expression
        case Items(parts) | And(parts) | Or(parts):
            for part in parts:
                yield from knobs(part)
        case Negative(operand) | Not(operand):
            yield from knobs(operand)
        case Arithmetic(first, others) | Comparison(first, others):
            yield from knobs(first)
            for _, other in others:
                yield from knobs(other)
        case _:
            assert_never(expression)


def constant(items: Iterable[Expression]) -> bool:
    """Whether a list consists of constants only."""
    return all(isinstance(item, Constant) for item in items)


def values(expression: Expression) -> int:
    """How many knobs and constants the expression reads; a list of constants counts as one."""
    match expression:
        case Items(items):
            return 1 if constant(items) else sum(map(values, items))
        case And(parts) | Or(parts):
            return sum(map(values, parts))
        case Negative(operand) | Not(operand):
            return values(operand)
        case Arithmetic(first, others) | Comparison(first, others):
            return values(first) + sum(values(other) for _, other in others)
        case Constant() | Knob():
            return 1
    assert_never(expression)


def text(expression: Expression) -> str:
    """The expression as text, with brackets only where they change the meaning."""
    match expression:
        case Constant(value):
            return json.dumps(value, ensure_ascii=False)
        case Knob(path):
            return ".".join(step if _BARE.fullmatch(step) else json.dumps(step) for step in path.split("."))
        case Items(items):
            return f"[{', '.join(_within(item, _SUM) for item in items)}]"
        case Negative(operand):
            return f"-{_within(operand, _SIGNED)}"
        case Not(operand):
            return f"not {_within(operand, _NEGATION)}"
        case And(parts):
            return " and ".join(_within(part, _NEGATION) for part in parts)
        case Or(parts):
            return " or ".join(_within(part, _CONJUNCTION) for part in parts)
        case Arithmetic(first, others) | Comparison(first, others):
            rank = _rank(expression) + 1
            said = (f"{operator} {_within(other, rank)}" for operator, other in others)
            return " ".join([_within(first, rank), *said])
    assert_never(expression)


_BARE = re.compile(r"\w+")
_DISJUNCTION, _CONJUNCTION, _NEGATION, _COMPARISON, _SUM, _PRODUCT, _SIGNED, _VALUE = range(8)
"""How tightly each production binds."""


def _rank(expression: Expression) -> int:
    match expression:
        case Or():
            return _DISJUNCTION
        case And():
            return _CONJUNCTION
        case Not():
            return _NEGATION
        case Comparison():
            return _COMPARISON
        case Arithmetic(_, others):
            return _SUM if others[0][0] in ("+", "-") else _PRODUCT
        case Negative():
            return _SIGNED
        case Constant() | Knob() | Items():
            return _VALUE
    assert_never(expression)


def _within(expression: Expression, least: int) -> str:
    """The expression as text, in brackets if it binds less tightly than required."""
    return text(expression) if _rank(expression) >= least else f"({text(expression)})"
