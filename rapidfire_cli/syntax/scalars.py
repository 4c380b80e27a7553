"""Plain scalars by YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema)."""

import re
from collections.abc import Mapping

from rapidfire_cli.terms import Value

CORE = "tag:yaml.org,2002:"

_NULL = ("", "~", "null", "Null", "NULL")
_BOOLEAN = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_BASES = {"0o": 8, "0x": 16}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_NUMBER_STARTS = frozenset("0123456789+-.")

_DIGITS_LIMIT = 4000  # below the 4,300 digits at which Python's int() refuses
CASTS: Mapping[str, type] = {
    f"{CORE}null": type(None),
    f"{CORE}bool": bool,
    f"{CORE}int": int,
    f"{CORE}float": float,
    f"{CORE}str": str,
}
"""The core schema's tags for scalars, and the Python type of what they mark."""

LOWEST, HIGHEST = -(2**63), 2**63 - 1


def resolve(text: str) -> Value:
    """The value of an unquoted scalar. Raises OverflowError for an integer beyond 64 bits."""
    if text[:1] in _NUMBER_STARTS and (number := _number(text)) is not None:
        return number
    if text in _NULL:
        return None
    return _BOOLEAN.get(text, text)


def cast(tag: str, text: str) -> Value:
    """The value of a scalar with a tag of CASTS. Raises ValueError when it does not match the tag."""
    value = text if CASTS[tag] is str else resolve(text)
    if CASTS[tag] is float and type(value) is int:
        return float(value)
    if type(value) is CASTS[tag]:
        return value
    raise ValueError(text)


def _number(text: str) -> int | float | None:
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if _NOT_FINITE.fullmatch(text) else None


def _integer(text: str) -> int:
    if len(text) > _DIGITS_LIMIT:
        raise OverflowError(text)
    base = _BASES.get(text[:2], 10)
    value = int(text, base) if base != 10 else int(text)
    if not LOWEST <= value <= HIGHEST:
        raise OverflowError(text)
    return value
