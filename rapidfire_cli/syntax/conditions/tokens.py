"""A condition's text as tokens."""

import json
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["number", "text", "word", "sign", "end"]

_SEGMENT = r'(?:\w+|"(?:[^"\\]|\\.)*")'
_TOKEN = re.compile(
    rf"""
    (?P<number>(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]++)?(?![\w.]))
  | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^']|'')*')
  | (?P<word>[^\W\d]\w*(?:\.{_SEGMENT})*)
  | (?P<sign>==|!=|<=|>=|//|[-+*/%<>()\[\],])
    """,
    re.VERBOSE,
)
_SPACE = re.compile(r"\s*")
_SEGMENTS = re.compile(_SEGMENT)
_INSTEAD = {"=": "==", "&": "and", "|": "or", "!": "not", "^": "not in", "≤": "<=", "≥": ">=", "≠": "!="}


class Token(NamedTuple):
    """A piece of the text; `at` counts the characters before it."""

    kind: Kind
    text: str
    at: int


class Malformed(Exception):  # noqa: N818 - what the text is
    """The text is not a valid condition; `at` and `width` locate the mistake."""

    def __init__(self, message: str, token: Token, *, expected: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message, self.expected, self.hint = message, expected, hint
        self.at, self.width = token.at, max(1, len(token.text))


def tokens(text: str) -> Iterator[Token]:
    """The tokens, an `end` last. Raises Malformed."""
    at = _after_space(text, 0)
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise _unknown(text, at)
        yield Token(_kind(found), found.group(), at)
        at = _after_space(text, found.end())
    yield Token("end", "", len(text))


def path(token: Token) -> str:
    """The dotted path in a word, with quoted steps unquoted. Raises Malformed."""
    steps = (step.group() for step in _SEGMENTS.finditer(token.text))
    return ".".join(_unquoted(token, step) if step.startswith('"') else step for step in steps)


def string(token: Token) -> str:
    """The string in a text token: with JSON's escapes in double quotes, verbatim in single quotes."""
    return _unquoted(token, token.text) if token.text[0] == '"' else token.text[1:-1].replace("''", "'")


def _kind(found: re.Match[str]) -> Kind:
    match found.lastgroup:
        case "number":
            return "number"
        case "text":
            return "text"
        case "word":
            return "word"
    return "sign"


def _after_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _unquoted(token: Token, text: str) -> str:
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        hint = "write \\\\ for a backslash, or use single quotes"
        raise Malformed("invalid escape in a string", token, hint=hint) from None


def _unknown(text: str, at: int) -> Malformed:
    character = Token("sign", text[at], at)
    if text[at] in "\"'":
        return Malformed("unterminated string", Token("text", text[at:], at), expected=f"`{text[at]}`")
    if text[at].isdigit() or text[at] == ".":
        return Malformed(
            "invalid number", character, hint="write digits, with a `.` or an `e` if needed: 1e-4"
        )
    instead = _INSTEAD.get(text[at])
    hint = f"write `{instead}`" if instead else ""
    return Malformed(f"unexpected `{text[at]}`", character, hint=hint)
