"""Decide which code is the user's own, and find the place in it that caused an error."""

import inspect
import linecache
import os
import re
import site
import sysconfig
import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import rapidfire_cli
from rapidfire_cli.problems import Span

_INSTALLED = (
    *filter(None, map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib"))),
    *site.getsitepackages(),
    site.getusersitepackages(),
    *rapidfire_cli.__path__,
)
LIBRARIES = tuple({f"{form(place)}{os.sep}" for place in _INSTALLED for form in (str, os.path.realpath)})
"""The directories of Python's library, of installed packages and of rapidfire."""


HEAD = re.compile(r"\s*(?:async\s+)?(?:def|class)\b")  # of a definition, below its decorators


class Place(NamedTuple):
    """The place in user code that caused an error."""

    span: Span
    function: str  # `<module>`, `<lambda>` and the like where it has no name; empty for a syntax error

    def __str__(self) -> str:
        """Format the place: `specs/x.py:41, in compute_forward`."""
        inside = f", in {self.function}" if self.function.isidentifier() else ""
        return f"{self.span.file}:{self.span.line}{inside}"


@cache
def is_users(file: str) -> bool:
    """Whether a source file is the user's own: not of a library, not built in, not made from a string."""
    return not file.startswith((*LIBRARIES, "<"))


def place(error: BaseException) -> Place | None:
    """Return the innermost frame of user code that raised the error, or that called what raised it.

    If the error has no such frame, its cause is searched, since libraries wrap errors of code that they call.
    """
    for each in _chain(error):
        if isinstance(each, SyntaxError) and each.filename and is_users(each.filename):
            return Place(_syntax_span(each, each.filename), "")
        frames = [frame for frame in traceback.extract_tb(each.__traceback__) if is_users(frame.filename)]
        if frames:
            return Place(_span(frames[-1]), frames[-1].name)
    return None


def definition(of: Any) -> Span | None:
    """Return the span of the `class` or `def` line of a user's class or function."""
    try:
        written = inspect.unwrap(of)
        file, (lines, first) = inspect.getsourcefile(written), inspect.getsourcelines(written)
    except (OSError, TypeError):  # there is no source
        return None
    if not file or not is_users(file):
        return None
    for number, line in enumerate(lines, first):
        if HEAD.match(line):
            return Span(relative(file), number, len(line) - len(line.lstrip()) + 1, len(line.strip()))
    return None


def written_at(method: Any) -> str:
    """Return where a user's method is defined, for the end of a message; empty if it is not the user's.

    For example ` (specs/x.py:41, in load_data)`.
    """
    at = definition(method)
    return f" ({at.file}:{at.line}, in {method.__name__})" if at else ""


def relative(file: str) -> str:
    """Return the path relative to the working directory if it is below it, or else unchanged."""
    path = Path(file)
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the working directory was deleted
        return file
    return str(path.relative_to(here)) if path.is_relative_to(here) else file


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, then its causes and contexts."""
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        seen.append(following)
        yield following
        hidden = following.__suppress_context__
        following = following.__cause__ or (None if hidden else following.__context__)


def _span(frame: traceback.FrameSummary) -> Span:
    """Return the span of the executed expression; the frame's columns are UTF-8 bytes, from 0."""
    number, start, end = frame.lineno or 1, frame.colno, frame.end_colno
    if start is None or end is None:
        return Span(relative(frame.filename), number, 1)
    line = linecache.getline(frame.filename, number).rstrip().encode()
    stop = end if frame.end_lineno == frame.lineno else len(line)
    before, marked = (part.decode(errors="replace") for part in (line[:start], line[start:stop]))
    return Span(relative(frame.filename), number, len(before) + 1, max(1, len(marked)))


def _syntax_span(error: SyntaxError, file: str) -> Span:
    start, end = error.offset or 1, error.end_offset or 0
    same = error.end_lineno in (None, error.lineno)
    return Span(relative(file), error.lineno or 1, max(1, start), max(1, end - start if same else 1))
