"""Find the places of keys and values in TOML, which tomli does not report.

The scan takes correct TOML for granted: where it meets anything else it ends, and the reader says what is
wrong.
"""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from rapidfire_cli.problems import Problem, Refusal, Span
from rapidfire_cli.syntax import compose
from rapidfire_cli.syntax.ast import Path
from rapidfire_cli.syntax.compose import MAX_DEPTH
from rapidfire_cli.syntax.text import Lines

_BLANK = re.compile(r"(?:[ \t\n]++|#[^\n]*+)*+")
_NEXT = re.compile(rf"{_BLANK.pattern},?{_BLANK.pattern}")
_SPACE = re.compile(r"[ \t]*+")
_KEY = re.compile(r"""[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+'""")
_VALUE = re.compile(
    r"""  \"""(?:[^"\\]|\\.|"(?!""))*+"{3,5}
        | \'\'\'(?:[^']|'(?!\'\'))*+'{3,5}
        | "(?!"")(?:[^"\\\n]|\\.)*+"
        | '(?!\'\')[^'\n]*+'
        | [0-9-]+[ ][0-9:.]+[Zz]?(?:[+-][0-9:]+)?  # a date and a time
        | [^ \t\n,\]}\[{\#"'=]++""",
    re.VERBOSE | re.DOTALL,
)


class Place(NamedTuple):
    """The spans of a key and its value; for an item of a list both are the item's."""

    key: Span
    value: Span


class Lost(Exception):  # noqa: N818 - a state, not a mistake
    """The text is not TOML from this index on; for something unclosed, the index where it opens."""


@dataclass(slots=True, eq=False)
class Places:
    """The places that the scan finds; `twice` holds the problems of duplicate keys."""

    text: str
    lines: Lines
    found: dict[Path, Place] = field(default_factory=dict)
    twice: list[Problem] = field(default_factory=list)
    end: int = 0  # where the text stops being valid TOML
    _given: dict[Path, Span] = field(default_factory=dict)
    _lengths: dict[Path, int] = field(default_factory=dict)  # of lists of tables
    _at: int = 0

    def at(self, path: Path) -> Place:
        """The place of the path or of its nearest parent."""
        if place := self.found.get(path):
            return place
        return self.at(path[:-1]) if path else Place(self.lines.span(0), self.lines.span(0))

    def scan(self) -> None:
        """Scan up to the first invalid TOML. Raises Refusal beyond the depth limit."""
        table: Path = ()
        try:
            while self._skip(_BLANK) < len(self.text):
                if self._takes("[["):
                    table = self._header("]]")
                elif self._takes("["):
                    table = self._header("]")
                else:
                    self._pair(table)
        except Lost as lost:
            (self.end,) = lost.args

    def _header(self, closing: str) -> Path:
        """header := `[` key `]` | `[[` key `]]`."""
        path: Path = ()
        while True:
            path, span = self._step(path)
            if not self._takes("."):
                break
            path = self._last_item(path)
        self._expect(closing)
        if closing == "]":
            self._give(path, span)
            return path
        length = self._lengths.get(path, 0)
        self._lengths[path] = length + 1
        self.found[*path, length] = Place(span, span)
        return (*path, length)

    def _last_item(self, path: Path) -> Path:
        return (*path, self._lengths[path] - 1) if path in self._lengths else path

    def _pair(self, table: Path) -> None:
        """pair := key `=` value."""
        path, span = self._step(table)
        while self._takes("."):
            path, span = self._step(path)
        self._give(path, span)
        self._expect("=")
        self._value(path, span)

    def _step(self, parent: Path) -> tuple[Path, Span]:
        """key := name (`.` name)…, of which this is one."""
        start = self._skip(_SPACE)
        said = _KEY.match(self.text, start)
        if not said:
            raise Lost(start)
        self._at = said.end()
        path, span = (*parent, _name(said.group(), start)), self.lines.span(start, self._at)
        if len(path) > MAX_DEPTH:
            raise Refusal([compose.too_deep(span)])
        self.found.setdefault(path, Place(span, span))
        return path, span

    def _value(self, path: Path, key: Span | None = None) -> None:
        """value := `[` value… `]` | `{` pair… `}` | scalar."""
        start = self._skip(_SPACE)
        if said := _VALUE.match(self.text, start):
            self._at = said.end()
        elif len(path) >= MAX_DEPTH and self.text.startswith(("[", "{"), start):
            raise Refusal([compose.too_deep(self.lines.span(start))])
        elif self._takes("["):
            index = 0
            while not self._closes("]", start):
                self._value((*path, index))
                index += 1
        elif self._takes("{"):
            while not self._closes("}", start):
                self._pair(path)
        else:
            raise Lost(start)
        span = self.lines.span(start, self._at)
        self.found[path] = Place(key or span, span)

    def _give(self, path: Path, span: Span) -> None:
        first = self._given.setdefault(path, span)
        if first is not span:
            self.twice.append(compose.twice(str(path[-1]), span, first))

    def _skip(self, what: re.Pattern[str]) -> int:
        said = what.match(self.text, self._at)
        self._at = said.end() if said else self._at
        return self._at

    def _takes(self, mark: str) -> bool:
        taken = self.text.startswith(mark, self._skip(_SPACE))
        self._at += len(mark) * taken
        return taken

    def _closes(self, mark: str, opened: int) -> bool:
        """Whether the collection ends before its next item, to which this leads."""
        if self._skip(_NEXT) == len(self.text):
            raise Lost(opened)
        closes = self.text[self._at] == mark
        self._at += closes
        return closes

    def _expect(self, mark: str) -> None:
        if not self._takes(mark):
            raise Lost(self._at)


def _name(said: str, start: int) -> str:
    """The name that a key's text means; tomli decodes the escapes."""
    if said.startswith("'"):
        return said[1:-1]
    if not said.startswith('"') or "\\" not in said:
        return said.strip('"')
    import tomli

    try:
        return "".join(tomli.loads(f"{said} = 0"))
    except tomli.TOMLDecodeError:
        raise Lost(start) from None
