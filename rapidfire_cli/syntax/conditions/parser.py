"""The productions of conditions, by recursive descent; a method per production."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeVar

from rapidfire_cli.syntax.conditions.tokens import Malformed, Token, path, string, tokens
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
)

LONGEST = 1000  # tokens (assumed): a longer condition was generated, and is better written as values
DEEPEST = 50  # assumed: brackets, `not` and `-` within each other

_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("true", "True"), True),
    **dict.fromkeys(("false", "False"), False),
    **dict.fromkeys(("null", "None")),
}
_COMPARATORS: dict[str, Comparator] = {
    "==": "==",
    "!=": "!=",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
    "in": "in",
}
_SUMS: dict[str, Operator] = {"+": "+", "-": "-"}
_PRODUCTS: dict[str, Operator] = {"*": "*", "/": "/", "//": "//", "%": "%"}
_RESERVED = ("and", "or", "not", "in")
_VALUE = "a knob, a number, a quoted string, a list, true, false or null"
_LARGEST = 2**63

Sign = TypeVar("Sign")


def parse(text: str) -> Expression:
    """The condition that the text says. Raises Malformed."""
    found = list(islice(tokens(text), LONGEST + 1))
    if found[-1].kind != "end":
        raise Malformed("condition is too long", found[-1], expected=f"at most {LONGEST:,} tokens")
    return _Parser(found).condition()


class _Parser:
    """A place in the tokens, moved on by the productions."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def condition(self) -> Expression:
        """condition := disjunction end."""
        whole = self._disjunction()
        if self._next.kind != "end":
            raise self._odd("`and`, `or`, a comparison, or the end")
        return whole

    def _disjunction(self) -> Expression:
        """disjunction := conjunction (`or` conjunction)*."""
        parts = [self._conjunction()]
        while self._take("or"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _conjunction(self) -> Expression:
        """conjunction := negation (`and` negation)*."""
        parts = [self._negation()]
        while self._take("and"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _negation(self) -> Expression:
        """negation := `not` negation | comparison."""
        if self._take("not"):
            return Not(self._deeper(self._negation))
        return self._comparison()

    def _comparison(self) -> Expression:
        """comparison := sum ((`==` | `!=` | `<` | `<=` | `>` | `>=` | `in` | `not` `in`) sum)*."""
        first = self._sum()
        others: list[tuple[Comparator, Expression]] = []
        while comparator := self._comparator():
            others.append((comparator, self._sum()))
        return Comparison(first, tuple(others)) if others else first

    def _comparator(self) -> Comparator | None:
        if self._next.text == "not" and self._tokens[self._at + 1].text == "in":
            self._at += 2
            return "not in"
        return self._one_of(_COMPARATORS)

    def _sum(self) -> Expression:
        """sum := product ((`+` | `-`) product)*."""
        return self._arithmetic(_SUMS, self._product)

    def _product(self) -> Expression:
        """product := signed ((`*` | `/` | `//` | `%`) signed)*."""
        return self._arithmetic(_PRODUCTS, self._signed)

    def _arithmetic(self, operators: dict[str, Operator], part: Callable[[], Expression]) -> Expression:
        first = part()
        others: list[tuple[Operator, Expression]] = []
        while operator := self._one_of(operators):
            others.append((operator, part()))
        return Arithmetic(first, tuple(others)) if others else first

    def _signed(self) -> Expression:
        """signed := `-` signed | value; the minus of a number is part of it."""
        if not self._take("-"):
            return self._value()
        operand = self._deeper(self._signed)
        value = operand.value if isinstance(operand, Constant) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return Constant(-value)
        return Negative(operand)

    def _value(self) -> Expression:
        """value := number | text | `true` | `false` | `null` | knob | list | `(` disjunction `)`."""
        token = self._next
        if self._take("("):
            inner = self._deeper(self._disjunction)
            self._expect(")")
            return inner
        if self._take("["):
            return self._deeper(self._list)
        if token.kind in ("end", "sign") or token.text in _RESERVED:
            raise self._odd(_VALUE)
        self._at += 1
        match token.kind:
            case "number":
                return Constant(_number(token))
            case "text":
                return Constant(string(token))
        return self._word(token)

    def _word(self, token: Token) -> Expression:
        """knob := key (`.` (key | index | text))*."""
        if token.text in _CONSTANTS:
            return Constant(_CONSTANTS[token.text])
        return Knob(path(token), token.at, len(token.text))

    def _list(self) -> Expression:
        """list := `[` [sum (`,` sum)* [`,`]] `]`."""
        items: list[Expression] = []
        while not self._take("]"):
            items.append(self._sum())
            if not self._take(","):
                self._expect("]")
                break
        return Items(tuple(items))

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self, text: str) -> bool:
        """Move past the next token if it is this one."""
        taken = self._next.text == text
        self._at += taken
        return taken

    def _one_of(self, signs: dict[str, Sign]) -> Sign | None:
        sign = signs.get(self._next.text)
        self._at += sign is not None
        return sign

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self._odd(f"`{text}`")

    def _odd(self, expected: str) -> Malformed:
        found = self._next
        message = f"unexpected `{found.text}`" if found.text else "unexpected end of the condition"
        return Malformed(message, found, expected=expected)

    def _deeper(self, production: Callable[[], Expression]) -> Expression:
        if self._depth == DEEPEST:
            raise Malformed("nested too deeply", self._next, expected=f"at most {DEEPEST} levels")
        self._depth += 1
        inner = production()
        self._depth -= 1
        return inner


def _number(token: Token) -> int | float:
    if not token.text.isdecimal():
        number = float(token.text)
        if number == float("inf"):
            raise Malformed("a number must be finite", token)
        return number
    whole = int(token.text) if len(token.text) < 20 else _LARGEST
    if whole >= _LARGEST:
        raise Malformed("integer does not fit in 64 bits", token, expected="below 2^63")
    return whole
