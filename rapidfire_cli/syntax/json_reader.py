"""JSON to nodes, strictly.

YAML's reader takes comments and trailing commas and refuses `\\ud83d\\ude00`; the standard library's own
keeps no positions and takes a key twice.
"""

import re
from collections.abc import Iterator
from json import JSONDecodeError
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Literal, NamedTuple, Never, TypeAlias

from rapidfire_cli.problems import Problem, Refusal, Span, shortened
from rapidfire_cli.syntax import compose
from rapidfire_cli.syntax.compose import MAX_DEPTH, MAX_NODES, Frame, Part
from rapidfire_cli.syntax.nodes import Document, Node, Sequence
from rapidfire_cli.syntax.scalars import resolve
from rapidfire_cli.syntax.text import Lines
from rapidfire_cli.terms import Value

Kind: TypeAlias = Literal["mark", "string", "word", "end"]
State: TypeAlias = Literal["first", "next", ":", "after"]
"""What comes: a collection's first part or its end, a next part, a colon, or a comma or the end."""

_TOKEN = re.compile(
    r"""[ \t\n\r]*(?:(?P<mark>[][{},:])|(?P<string>")|(?P<word>[^ \t\n\r\[\]{},:"]+)|(?P<end>\Z))"""
)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_NUMBER_START = re.compile(r"[-+.]?[0-9]")
_WORDS: dict[str, Value] = {
    "true": True,
    "false": False,
    "null": None,
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
}
_CLOSING = {True: "}", False: "]"}
_QUOTED = "strings and keys need double quotes"
_COMMENTS = ("//", "/*", "#")


class Token(NamedTuple):
    """A token and its place in the text."""

    kind: Kind
    text: str
    start: int
    end: int


def read_json(text: str, file: str, most: int = MAX_NODES) -> Document:
    """The document in `text`, of at most so many nodes. Raises Refusal where reading cannot go on."""
    lines = Lines(text, file)
    reader = _Reader(lines, most)
    try:
        for token in _tokens(text, lines):
            reader.take(token)
    except Refusal as refusal:
        raise Refusal([*reader.problems, *refusal.problems]) from None
    assert reader.root is not None
    return Document(reader.root, tuple(reader.problems))


def _tokens(text: str, lines: Lines) -> Iterator[Token]:
    index = 0
    while found := _TOKEN.match(text, index):
        kind: Kind = found.lastgroup  # type: ignore[assignment]
        start, index = found.span(kind)
        said = found[kind]
        if kind == "string":
            try:
                said, index = scanstring(text, start + 1)
            except JSONDecodeError as error:
                _refuse(
                    error.msg.lower().removesuffix(" at").removesuffix(" starting"), lines.span(error.pos)
                )
        yield Token(kind, said, start, index)
        if kind == "end":
            return


class _Reader:
    """Tokens in, one root node out; iterative, so that hostile depth costs a refusal and not the process."""

    def __init__(self, lines: Lines, most: int) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._frames: list[Frame] = []
        self._state: State = "next"
        self._count = 0
        self._lines = lines
        self._most = most

    def take(self, token: Token) -> None:
        """Read the next token. Raises Refusal if it is not allowed here, or beyond a limit."""
        frame = self._frames[-1] if self._frames else None
        match self._state, token:
            case "first" | "after", Token("mark", text) if frame and text == _CLOSING[frame.mapping]:
                self._close(self._frames.pop(), token)
            case "after", Token("mark", ",") if frame:
                self._state = "next"
            case "after", Token("end") if not frame:
                pass
            case ":", Token("mark", ":"):
                self._state = "next"
            case "first" | "next", Token("string", text):
                self._add(text, self._span(token))
            case "first" | "next", Token() if not (frame and frame.expects_key):
                self._value(token)
            case _:
                self._misplaced(token)

    def _value(self, token: Token) -> None:
        span = self._span(token)
        if token.kind == "word":
            self._add(self._meaning(token.text, span), span)
        elif token.kind == "mark" and token.text in ("[", "{"):
            self._tally(span)
            self._frames.append(Frame(token.text == "{", span))
            self._state = "first"
            if len(self._frames) > MAX_DEPTH:
                raise Refusal([compose.too_deep(span)])
        else:
            self._misplaced(token)

    def _meaning(self, word: str, span: Span) -> Value:
        if word in _WORDS:
            return _WORDS[word]
        if not _NUMBER.fullmatch(word):
            _refuse(f"`{shortened(word)}` is not valid JSON", span, _advice(word))
        try:
            return resolve(word)
        except OverflowError:
            self.problems.append(compose.too_big(word, span))
            return word

    def _add(self, value: Value, span: Span) -> None:
        self._tally(span)
        self._put(compose.scalar(value, span, self.problems))

    def _put(self, node: Node) -> None:
        if self._frames:
            frame = self._frames[-1]
            self._state = ":" if frame.expects_key else "after"
            frame.add(Part(node))
        else:
            self.root, self._state = node, "after"

    def _close(self, frame: Frame, closing: Token) -> None:
        start, end = frame.span, self._span(closing)
        span = start._replace(width=end.column + 1 - start.column) if end.line == start.line else start
        if frame.mapping:
            self._put(compose.mapping(frame.parts, span, self.problems))
        else:
            self._put(Sequence(tuple(frame.parts), span))

    def _span(self, token: Token) -> Span:
        return self._lines.span(token.start, token.end)

    def _tally(self, span: Span) -> None:
        self._count += 1
        if self._count > self._most:
            raise Refusal([compose.too_many(span, self._most)])

    def _misplaced(self, token: Token) -> Never:
        """Refuse a token that is not allowed here."""
        frame = self._frames[-1] if self._frames else None
        if token.kind == "end":
            raise Refusal([_unclosed(frame) if frame else compose.nothing(self._span(token))])
        closing = _CLOSING[frame.mapping] if frame else ""
        key = frame is not None and frame.expects_key
        if self._state == "next" and token.text == closing and (key or closing == "]"):
            _refuse("trailing comma", self._span(token), "remove the comma")
        expected = "a key in double quotes" if key else "a value"
        if self._state == ":":
            expected = "`:` after the key"
        elif self._state == "after":
            expected = f"`,` or `{closing}`" if frame else "the end of the file"
        hint = _advice(token.text) if token.kind == "word" else ""
        _refuse("unexpected token", self._span(token), hint, f"`{shortened(token.text)}`", expected)


def _unclosed(frame: Frame) -> Problem:
    what = "mapping" if frame.mapping else "list"
    return Problem("E118", f"this {what} is not closed", frame.span, expected=f"`{_CLOSING[frame.mapping]}`")


def _advice(word: str) -> str:
    """The hint for a word that is not JSON."""
    if word.startswith(_COMMENTS):
        return "JSON has no comments; use YAML or TOML for them"
    if word.startswith("'"):
        return _QUOTED
    if word.lower() in ("true", "false", "null", "none"):
        return f"write {word.lower().replace('none', 'null')}"
    if _NUMBER_START.match(word):
        return "JSON writes 8, -8, 0.5 and 1e-4: no 08, +8, .5 or 5."
    return _QUOTED


def _refuse(message: str, span: Span, hint: str = "", found: str = "", expected: str = "") -> Never:
    raise Refusal([Problem("E118", message, span, found, expected, hint)])
