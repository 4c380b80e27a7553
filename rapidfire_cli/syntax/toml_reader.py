"""TOML to nodes: values from tomli, places from a scan of the text."""

import re
from datetime import date, datetime, time
from typing import Any

import tomli

from rapidfire_cli.problems import Problem, Refusal, Span
from rapidfire_cli.syntax import compose
from rapidfire_cli.syntax.ast import Path
from rapidfire_cli.syntax.compose import MAX_NODES
from rapidfire_cli.syntax.nodes import Document, Node, Scalar, Sequence
from rapidfire_cli.syntax.scalars import HIGHEST, LOWEST
from rapidfire_cli.syntax.text import Lines
from rapidfire_cli.syntax.toml_places import Places

_DIGITS = re.compile(r"[0-9_]{4000,}+")
_TAGS = 'TOML has no tags: write {"!list" = [1, 2]}, {"!range" = [0.1, 0.9]} or {"!null" = true}'
_CLOSING = {"[": "]", "{": "}", '"': '"', "'": "'"}
_AGAIN = re.compile(r"Cannot (declare|overwrite|redefine|mutate)|Duplicate")


def read_toml(text: str, file: str, most: int = MAX_NODES) -> Document:
    """The document in `text`, of at most so many nodes. Raises Refusal where reading cannot go on."""
    text = text.replace("\r\n", "\n")
    places = Places(text, Lines(text, file))
    places.scan()
    try:
        data = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise Refusal(places.twice or [_explain(error, places)]) from None
    except ValueError:  # Python refuses integers of 4,300 digits, and tomli passes that on
        raise Refusal([_endless(places)]) from None
    if not data:
        raise Refusal([compose.nothing(places.lines.span(0))])
    builder = _Builder(places, most)
    root = builder.build(data, ())
    return Document(root, tuple(builder.problems), (places.found,))


class _Builder:
    """Plain data in, nodes out; recursive, as the scan has bounded the depth."""

    def __init__(self, places: Places, most: int) -> None:
        self.problems: list[Problem] = []
        self._most = most
        self._places = places
        self._count = 0

    def build(self, value: Any, path: Path) -> Node:
        """Build the node at the path. Raises Refusal beyond the limit of nodes."""
        place = self._places.at(path)
        self._tally(place.value)
        match value:
            case dict():
                parts = [part for key, inner in value.items() for part in self._entry(key, inner, path)]
                return compose.mapping(parts, place.value, self.problems)
            case list():
                items = (self.build(item, (*path, index)) for index, item in enumerate(value))
                return Sequence(tuple(items), place.value)
            case datetime() | date() | time():
                self.problems.append(_a_date(value, place.value))
                return Scalar(str(value), place.value)
            case int() if not LOWEST <= value <= HIGHEST:
                self.problems.append(
                    compose.too_big(str(value) if abs(value) < 10**60 else "an integer", place.value)
                )
                return Scalar(0, place.value)
        return compose.scalar(value, place.value, self.problems)

    def _entry(self, key: str, inner: Any, parent: Path) -> tuple[Node, Node]:
        path = (*parent, key)
        self._tally(self._places.at(path).key)
        return compose.scalar(key, self._places.at(path).key, self.problems), self.build(inner, path)

    def _tally(self, span: Span) -> None:
        self._count += 1
        if self._count > self._most:
            raise Refusal([compose.too_many(span, self._most)])


def _explain(error: tomli.TOMLDecodeError, places: Places) -> Problem:
    """Translate tomli's error into a problem with a hint."""
    span, next_character = places.lines.span(error.pos), places.text[error.pos : error.pos + 1]
    if _AGAIN.match(error.msg):
        return Problem("E105", "duplicate key or table", span)
    if error.pos >= len(places.text) and (opened := places.text[places.end : places.end + 1]) in _CLOSING:
        what = f"`{_CLOSING[opened]}`"
        return Problem(
            "E117", "missing closing bracket or quote", places.lines.span(places.end), expected=what
        )
    hint = ""
    if error.msg == "Invalid value":
        hint = _TAGS if next_character == "!" else "strings must be quoted"
    elif error.msg.startswith("Expected '='") and next_character == ":":
        hint = "TOML writes `key = value`; `key: value` is YAML"
    found = "" if next_character.strip() == "" else f"`{next_character}`"
    return Problem("E117", f"invalid TOML: {error.msg[:1].lower()}{error.msg[1:]}", span, found, hint=hint)


def _endless(places: Places) -> Problem:
    digits = _DIGITS.search(places.text)
    start, end = digits.span() if digits else (0, 1)
    return compose.too_big(places.text[start:end], places.lines.span(start, end))


def _a_date(value: date | time, span: Span) -> Problem:
    message = "dates and times are not supported"
    return Problem("E119", message, span, f"{value}", "a number, a string or a boolean", f'write "{value}"')
