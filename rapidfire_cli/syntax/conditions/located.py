"""Conditions in a file: parse them, and locate each problem inside the condition's text."""

from collections.abc import Iterator
from typing import NamedTuple

from rapidfire_cli.problems import Problem, Refusal, Span, did_you_mean
from rapidfire_cli.syntax.ast import List, Path, Tree, is_value
from rapidfire_cli.syntax.conditions.parser import parse
from rapidfire_cli.syntax.conditions.tokens import Malformed
from rapidfire_cli.syntax.conditions.tree import Expression, Knob, knobs

_MANY = 500  # assumed: with more knobs, no nearest one is suggested


class Known(NamedTuple):
    """What conditions can name in a config: its knobs, and the mappings and lists that hold them."""

    knobs: frozenset[str]
    holders: frozenset[str]


def known(*trees: Tree) -> Known:
    """What the configs and their alternatives hold, by dotted paths."""
    found = {(".".join(map(str, at)), is_knob) for tree in trees for at, is_knob in _paths(tree, ())}
    knobs, holders = ({path for path, is_knob in found if is_knob is wanted} for wanted in (True, False))
    return Known(frozenset(knobs), frozenset(holders - knobs))


def understood(text: str, span: Span, about: Known) -> Expression:
    """Parse the condition at `span`. Raises Refusal."""
    try:
        expression = parse(text)
    except Malformed as error:
        place = within(span, text, error.at, error.width)
        raise Refusal([Problem("E340", error.message, place, "", error.expected, error.hint)]) from None
    unknown = (knob for knob in knobs(expression) if knob.path not in about.knobs)
    if problems := [_unknown(knob, within(span, text, knob.at, knob.width), about) for knob in unknown]:
        raise Refusal(problems)
    return expression


def within(span: Span, text: str, at: int, width: int) -> Span:
    """The part of a text's span, where a line says the text letter by letter; else the whole span."""
    quotes = span.width - len(text)
    if quotes not in (0, 2) or "\n" in text:
        return span
    return Span(span.file, span.line, span.column + quotes // 2 + at, min(width, max(1, len(text) - at)))


def _unknown(knob: Knob, span: Span, about: Known) -> Problem:
    path = knob.path
    if path in about.holders:
        inside = sorted(name for name in about.knobs if name.startswith(f"{path}."))
        hint = f"name one of them, such as `{inside[0]}`" if inside else "it has no knobs in this file"
        return Problem("E341", f"`{path}` is a section, not a knob", span, hint=hint)
    return Problem("E341", f"unknown knob `{path}`", span, hint=_meant(path, about))


def _meant(path: str, about: Known) -> str:
    """The hint for an unknown knob: the one whose path ends so, the nearest one, or quotes for a string."""
    ends = sorted(name for name in about.knobs if name.endswith(f".{path}"))
    if len(ends) == 1:
        return f"did you mean `{ends[0]}`?"
    near = did_you_mean(path, sorted(about.knobs)) if len(about.knobs) < _MANY else ""
    return near or ("" if "." in path else f"strings must be quoted: '{path}'")


def _paths(tree: Tree, at: Path) -> Iterator[tuple[Path, bool]]:
    """Every path of the tree, and whether its value can be compared."""
    match tree:
        case List(values):
            for value in values:
                yield from _paths(value, at)
        case dict():
            yield at, False
            for key, value in tree.items():
                yield from _paths(value, (*at, key))
        case list():
            yield at, is_value(tree)
            for index, value in enumerate(tree):
                yield from _paths(value, (*at, index))
        case _:
            yield at, True
