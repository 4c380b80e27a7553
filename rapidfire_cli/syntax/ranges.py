"""The production of intervals."""

from typing import Any

from rapidfire_cli.syntax.ast import Range
from rapidfire_cli.syntax.check import Place, check_shape
from rapidfire_cli.syntax.diagnostics import Diagnostics
from rapidfire_cli.syntax.keys import RANGE
from rapidfire_cli.syntax.nodes import Interval, Scalar

_FRACTIONLESS = ("start", "end", "step")


def interval(node: Interval, diagnostics: Diagnostics) -> Range | None:
    """range := `!range` ( `[` start `,` end `]` | `{` start end [dtype] [log] [step] `}` ).

    None when it is wrong, which is then noted.
    """
    before = diagnostics.errors
    check_shape(RANGE, node.parts, Place("`!range`", "!range", node.span), diagnostics)
    if diagnostics.errors > before:
        return None
    given = _values(node)
    given.setdefault("dtype", _inferred(given))
    _check_numbers(node, given, diagnostics)
    if diagnostics.errors > before:
        return None
    _warn(node, given, diagnostics)
    return _range(given)


def _values(node: Interval) -> dict[str, Any]:
    return {entry.key: entry.node.value for entry in node.parts.entries if isinstance(entry.node, Scalar)}


def _inferred(given: dict[str, Any]) -> str:
    return "int" if isinstance(given["start"], int) and isinstance(given["end"], int) else "float"


def _check_numbers(node: Interval, given: dict[str, Any], diagnostics: Diagnostics) -> None:
    for entry in node.parts.entries:
        value = given[entry.key]
        if given["dtype"] == "int" and entry.key in _FRACTIONLESS and isinstance(value, float):
            hint = f"write {int(value)}" if value.is_integer() else "write `dtype: float`"
            diagnostics.error(
                "E305",
                f"`{entry.key}` of an integer range must be an integer",
                entry.node.span,
                found=f"{value!r}",
                expected="an integer",
                hint=hint,
            )
        elif given.get("log") and entry.key in ("start", "end") and value <= 0:
            message = "a logarithmic range must start above 0"
            diagnostics.error(
                "E307", message, entry.node.span, found=f"{value!r}", expected="a number above 0"
            )
        elif given.get("log") and entry.key == "step":
            hint = "remove one of them"
            diagnostics.error("E306", "a logarithmic range cannot have a `step`", entry.at, hint=hint)


def _warn(node: Interval, given: dict[str, Any], diagnostics: Diagnostics) -> None:
    start, end = given["start"], given["end"]
    if start > end:
        hint = f"it is read as [{end!r}, {start!r}]"
        diagnostics.warn("W301", "reversed range", node.span, hint=hint)
    if (start, end) == (0, 1) and given["dtype"] == "int" and node.parts.get("dtype") is None:
        hint = (
            "write [0.0, 1.0] to include the numbers between, or add `dtype: int` if only 0 and 1 are meant"
        )
        diagnostics.warn("W302", "this range contains only the integers 0 and 1", node.span, hint=hint)


def _range(given: dict[str, Any]) -> Range:
    number = int if given["dtype"] == "int" else float
    start, end = sorted((number(given["start"]), number(given["end"])))
    step = None if "step" not in given else number(given["step"])
    return Range(start, end, given["dtype"], given.get("log", False), step)
