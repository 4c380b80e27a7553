"""Errors as products: what is wrong, where, what was found and expected, and what to do about it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple


class Severity(StrEnum):
    """Errors stop the command; warnings are shown and it goes on."""

    ERROR = "error"
    WARNING = "warning"


class Span(NamedTuple):
    """A stretch of a source: lines and columns count from 1, columns in characters; `width` in characters.

    Line 0 stands for a place without lines, which `file` names as a whole: a knob of a config made in Python.

    A NamedTuple, as files hold them by the ten thousand.
    """

    file: str
    line: int
    column: int
    width: int = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with what the user wrote."""

    code: str  # stable: E104; warnings W…
    message: str
    span: Span | None = None
    found: str = ""
    expected: str = ""
    hint: str = ""
    severity: Severity = Severity.ERROR
    traceback: str = ""  # of what the user's code raised; shown with `--debug`


class Refusal(Exception):  # noqa: N818 - the word users read
    """What was asked cannot be done; carries every problem found, never just the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n\n".join(render(problem, {}) for problem in self.problems)


TITLES: Mapping[str, str] = {
    # E1: the notation
    "E101": "file too large",
    "E102": "not UTF-8",
    "E103": "unfit character",
    "E104": "wrong YAML",
    "E105": "key given twice",
    "E106": "key that is not a string",
    "E107": "unknown tag",
    "E108": "value that its tag does not fit",
    "E109": "integer beyond 64 bits",
    "E110": "NaN or infinity",
    "E111": "alias without an anchor",
    "E112": "merge of what is no mapping",
    "E113": "several documents",
    "E114": "nested too deep",
    "E115": "too many values",
    "E116": "empty file",
    "E117": "wrong TOML",
    "E118": "wrong JSON",
    "E119": "date or time",
    "E121": "file that extends itself",
    "E122": "too many files that extend each other",
    # E2: the grammar
    "E201": "unknown key",
    "E202": "missing key",
    "E203": "wrong type",
    "E204": "out of bounds",
    "E205": "not one of the choices",
    "E206": "malformed text",
    "E207": "no config group",
    "E208": "two config groups where one stands",
    "E209": "named metrics given twice",
    "E210": "several GPUs for one run",
    "W201": "knob without an effect",
    # E3: value sets and generators
    "E301": "value set where one value must stand",
    "E302": "empty list",
    "E303": "list of mixed types",
    "E304": "value twice in a list",
    "E305": "fraction in a range of integers",
    "E306": "range with both a step and log",
    "E307": "logarithm of a bound that is not positive",
    "E308": "value set that the generator rejects",
    "E309": "successive halving without a range",
    "E310": "successive halving without a rung to reach",
    "E311": "`!zip` without a partner",
    "E312": "zipped lists of different length",
    "W301": "reversed range",
    "W302": "range of two integers, 0 and 1",
    # E33: the runs of a group
    "E330": "more runs than the value sets have",
    "E331": "too few distinct draws",
    "E332": "manifest line that is no run",
    "E333": "run that is none of its manifest's experiment",
    "E334": "manifest without a header",
    "E335": "change to a saved manifest",
    # E34: rules
    "E340": "malformed condition",
    "E341": "condition on a knob that is not there",
    "E342": "rules that leave no run",
    "E343": "rules over too many combinations",
    "W341": "rule that removes nothing",
    # E35: changes of runs that run out of memory
    "E350": "change that cannot be made",
    "E351": "change of a knob that is not there",
    # E4: what only torch and the MLSpec know
    "E401": "unknown optimizer",
    "E402": "argument that the optimizer does not take",
    "E403": "argument that torch needs",
    "E404": "unknown learning rate scheduler",
    "E405": "argument that the scheduler does not take",
    "E406": "value that an optimizer or scheduler rejects",
    "E407": "callable that cannot be imported",
    "E408": "train knob that the optimizer rules out",
    "E409": "scheduler that does not fit into the run",
    "E410": "MLSpec that cannot be imported",
    "E411": "no such MLSpec",
    "E412": "MLSpec without a method it needs",
    "E413": "method that does not take what it is passed",
    "E414": "no data section where the default load_data needs one",
    "E420": "unknown named metric",
    "E421": "metric that no run measures",
    "E415": "prepare that fails",
    "E422": "metric that cannot be used",
    "E430": "knob that is read but never set",
    "E431": "trial batch that fails",
    "E432": "state that a checkpoint cannot hold",
    "W430": "knob that is set but never read",
    "W431": "batch that is larger than the train split",
    # E5: files and what is asked of them
    "E501": "no such file",
    "E502": "directory instead of a file",
    "E503": "unreadable file",
    "E504": "no such file in git",
    "E510": "no MLSpec to train with",
    "E511": "too many runs to train",
    "E512": "no such run",
    "E513": "malformed requirement",
    "E514": "malformed shard",
    "E515": "no run of this number",
    # E52: what Python hands over
    "E520": "value that is no plain data",
    "E521": "MLSpec that workers cannot import",
    # E53: what the command line changes in a file
    "E530": "override of what is not there",
    "E531": "malformed override",
    "E532": "override of a group that is not there",
    # E54: two files
    "E540": "too many runs to compare",
    # E6: what is kept
    "E601": "no such experiment",
    "E602": "nothing recorded yet",
    "E603": "journal of another version",
    "E604": "damaged journal",
    "E605": "metric that no run has",
    "E606": "runs begun with other code or data",
    "E607": "journal that is gone",
    "E608": "nothing to rebuild a journal from",
    "E609": "directory of another file",
    "E610": "metric whose better direction is unknown",
}
"""Every code with what it stands for; the first digit is the stage that finds it."""

WIDTH = 120  # characters of a source line that are shown at most
_TAB = "    "
_ELLIPSIS = "…"


def render(problem: Problem, sources: Mapping[str, str]) -> str:
    """The problem as people read it; `sources` holds the text of every file that spans point into."""
    label = f"{problem.severity}[{problem.code}]: {visible(problem.message)}"
    lines = [label] if problem.span is None else [f"{position(problem.span)}: {label}"]
    if problem.span and (source := _source(problem.span, sources)):
        lines += _excerpt(problem.span, source)
    details = {"found": problem.found, "expected": problem.expected, "hint": problem.hint}
    lines += [f"{name}: {visible(text)}" for name, text in details.items() if text]
    return "\n".join(lines)


def position(span: Span) -> str:
    """`FILE:LINE:COL`."""
    if not span.line:
        return visible(span.file)
    return f"{visible(span.file)}:{span.line}:{span.column}"


def visible(text: str) -> str:
    """The text with control and format characters spelt out, so that a terminal obeys none of them."""
    return text if text.isascii() and text.isprintable() else "".join(map(_shown, text))


def _source(span: Span, sources: Mapping[str, str]) -> str:
    lines = _lines(sources.get(span.file, ""))
    return lines[span.line - 1] if 0 < span.line <= len(lines) else ""


@lru_cache(maxsize=8)
def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n"))


def _excerpt(span: Span, source: str) -> list[str]:
    """The source line and the carets below it, shortened around the span."""
    first = span.column - 1
    width = max(1, min(span.width, len(source) - first, WIDTH // 2))
    start = max(0, first + width + WIDTH // 4 - WIDTH) if len(source) > WIDTH else 0
    before, marked = source[start:first], source[first : first + width]
    after = source[first + width : start + WIDTH]
    head = (_ELLIPSIS if start else "") + visible(before)
    tail = visible(after) + (_ELLIPSIS if start + WIDTH < len(source) else "")
    carets = " " * _columns(head) + "^" * max(1, _columns(visible(marked)))
    return [f"{span.line:>4} | {head}{visible(marked)}{tail}".rstrip(), f"{'':>4} | {carets}"]


def _shown(character: str) -> str:
    if character == "\t":
        return _TAB
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _columns(text: str) -> int:
    """Terminal columns that the text takes: two for East Asian wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(
        0 if category(character) in ("Mn", "Me") else 2 if east_asian_width(character) in "WF" else 1
        for character in text
    )


def shortened(text: str, limit: int = 60) -> str:
    """The text, cut where a message would become unreadable."""
    return text if len(text) <= limit else f"{text[:limit]}{_ELLIPSIS}"


def did_you_mean(word: str, known: Iterable[str], closeness: float = 0.6) -> str:
    """The hint that names the closest known word; empty when none is that close (1 is the same)."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1, cutoff=closeness)
    return f"did you mean `{close[0]}`?" if close else ""
