"""Problems and how they are shown: what is wrong and where, what was found and expected, and a hint."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple


class Severity(StrEnum):
    """Errors stop the command; warnings do not."""

    ERROR = "error"
    WARNING = "warning"


class SourceName(str):
    """The name of a text that spans point into; it carries the text, so that a problem can quote it."""

    __slots__ = ("text",)

    text: str

    def __new__(cls, name: str, text: str = "") -> "SourceName":
        named = super().__new__(cls, name)
        named.text = text
        return named


class Span(NamedTuple):
    """A stretch of a source: lines and columns count from 1, columns in characters; `width` in characters.

    Line 0 means a place without lines, described by `file` alone: a knob of a config made in Python.

    A NamedTuple, as files hold them by the ten thousand.
    """

    file: str
    line: int
    column: int
    width: int = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem in the user's input."""

    code: str  # stable: E104; warnings W…
    message: str
    span: Span | None = None
    found: str = ""
    expected: str = ""
    hint: str = ""
    severity: Severity = Severity.ERROR
    traceback: str = ""  # of what the user's code raised; shown with `--debug`


class Refusal(Exception):  # noqa: N818 - the word users read
    """The request is refused; carries every problem found, not just the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n\n".join(map(render, self.problems))


TITLES: Mapping[str, str] = {
    # E1: the notation
    "E101": "file too large",
    "E102": "file is not UTF-8",
    "E103": "invalid character",
    "E104": "invalid YAML",
    "E105": "duplicate key",
    "E106": "key is not a string",
    "E107": "unknown tag",
    "E108": "value does not match its tag",
    "E109": "integer does not fit in 64 bits",
    "E110": "NaN or infinity",
    "E111": "unknown anchor",
    "E112": "`<<` needs a mapping",
    "E113": "more than one YAML document",
    "E114": "nested too deeply",
    "E115": "too many values",
    "E116": "empty file",
    "E117": "invalid TOML",
    "E118": "invalid JSON",
    "E119": "date or time value",
    "E121": "file extends itself",
    "E122": "too many files in `extends`",
    # E2: the grammar
    "E201": "unknown key",
    "E202": "missing required key",
    "E203": "wrong type",
    "E204": "value out of range",
    "E205": "invalid choice",
    "E206": "invalid string",
    "E207": "missing config group",
    "E208": "more than one config group",
    "E209": "`named_metrics` given twice",
    "E211": "two keys say how many workers there are",
    "W201": "knob without effect",
    # E3: value sets and generators
    "E301": "value set where one value is required",
    "E302": "value set without values",
    "E303": "mixed types in a list",
    "E304": "duplicate value in a list",
    "E305": "fraction in an integer range",
    "E306": "range with both `step` and `log`",
    "E307": "logarithmic range that does not start above 0",
    "E308": "value set that the generator does not support",
    "E309": "successive halving without a range",
    "E310": "max_epochs below the first rung",
    "E311": "`!zip` group with one member",
    "E312": "`!zip` lists of different lengths",
    "E313": "warm start from an unknown run or epoch",
    "E314": "population based training that would change nothing",
    "W301": "reversed range",
    "W302": "integer range of only 0 and 1",
    # E33: the runs of a group
    "E330": "more runs than combinations",
    "E331": "too few distinct draws",
    "E332": "invalid manifest line",
    "E333": "run from another experiment in a manifest",
    "E334": "manifest without a header",
    "E335": "change to a manifest",
    # E34: filters
    "E340": "invalid condition",
    "E341": "unknown knob in a condition",
    "E342": "conditions that remove every run",
    "E343": "conditions that combine too many values",
    "W341": "condition that removes nothing",
    # E35: changes of runs that run out of memory
    "E350": "invalid `on_oom` change",
    "E351": "knob that `on_oom` cannot change",
    # E4: what only torch and the MLSpec know
    "E401": "unknown optimizer",
    "E402": "unknown optimizer argument",
    "E403": "missing required argument",
    "E404": "unknown learning-rate scheduler",
    "E405": "unknown scheduler argument",
    "E406": "value rejected by an optimizer or scheduler",
    "E407": "callable that cannot be imported",
    "E408": "unsupported combination of knobs",
    "E409": "scheduler that does not match the length of the run",
    "E410": "MLSpec that cannot be imported",
    "E411": "MLSpec not found",
    "E412": "MLSpec without a required method",
    "E413": "MLSpec method with the wrong parameters",
    "E414": "missing `data` section",
    "E415": "`prepare` failed",
    "E416": "run that several devices cannot train",
    "E417": "unknown class of layers",
    "E420": "unknown named metric",
    "E421": "metric that no run measures",
    "E422": "metric that cannot be used",
    "E430": "knob that is read but never set",
    "E431": "trial batch failed",
    "E432": "state that a checkpoint cannot save",
    "E433": "run larger than the memory of its device",
    "W430": "knob that is set but never read",
    "W431": "batch larger than the train split",
    # E5: files and what is asked of them
    "E501": "file not found",
    "E502": "directory instead of a file",
    "E503": "file that cannot be read",
    "E504": "file not found in git",
    "E505": "file that already exists",
    "E510": "missing `mlspec`",
    "E511": "too many runs to train",
    "E512": "run not found",
    "E513": "invalid requirement",
    "E514": "invalid shard",
    "E515": "run to debug not found",
    "E516": "invalid selection of runs",
    "E517": "run that cannot be cloned",
    "E518": "search that cannot be trained in shards",
    "E519": "more devices for one run than there are",
    # E52: what Python hands over
    "E520": "value that is not plain data",
    "E521": "MLSpec that workers cannot import",
    # E53: what the command line changes in a file
    "E530": "override of an unknown path",
    "E531": "invalid override",
    "E532": "override of an unknown group",
    # E54: two files
    "E540": "too many runs to compare",
    "E541": "nothing to plot",
    # E6: what is kept
    "E601": "experiment not found",
    "E602": "nothing recorded yet",
    "E603": "journal of a newer version",
    "E604": "damaged journal",
    "E605": "metric not recorded",
    "E606": "code or data changed since the run was trained",
    "E607": "missing journal",
    "E608": "journal that cannot be rebuilt",
    "E609": "directory of another file",
    "E610": "metric with an unknown better direction",
    "E611": "experiments that cannot be merged",
    # E62: what a trained run is used for
    "E620": "run without a finished epoch",
    "E621": "split not found",
    "E622": "run of another version of the file",
    "E623": "file that predictions cannot be read from or written to",
    "E624": "using a trained run failed",
    "E625": "model that cannot be exported as requested",
}
"""The title of every code; the first digit is the stage that finds the problem."""

WIDTH = 120  # characters of a source line that are shown at most
_TAB = "    "
_ELLIPSIS = "…"


def render(problem: Problem) -> str:
    """Format the problem for people, with the line that it points at where its text is at hand."""
    label = f"{problem.severity}[{problem.code}]: {visible(problem.message)}"
    lines = [label] if problem.span is None else [f"{position(problem.span)}: {label}"]
    if problem.span and (source := _source(problem.span)):
        lines += _excerpt(problem.span, source)
    details = {"found": problem.found, "expected": problem.expected, "hint": problem.hint}
    lines += [f"{name}: {visible(text)}" for name, text in details.items() if text]
    return "\n".join(lines)


def brief(problem: Problem) -> str:
    """The message and the hint, for where there is room for one line."""
    return f"{problem.message}; {problem.hint}" if problem.hint else problem.message


def position(span: Span) -> str:
    """`FILE:LINE:COL`."""
    if not span.line:
        return visible(span.file)
    return f"{visible(span.file)}:{span.line}:{span.column}"


def visible(text: str) -> str:
    """The text with control and format characters escaped, so that a terminal does not interpret them."""
    return text if text.isascii() and text.isprintable() else "".join(map(_shown, text))


def _source(span: Span) -> str:
    lines = _lines(span.file.text) if isinstance(span.file, SourceName) else ()
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
    """The text's width in terminal columns: two for East Asian wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(
        0 if category(character) in ("Mn", "Me") else 2 if east_asian_width(character) in "WF" else 1
        for character in text
    )


def shortened(text: str, limit: int = 60) -> str:
    """The text, shortened to `limit` characters."""
    return text if len(text) <= limit else f"{text[:limit]}{_ELLIPSIS}"


def did_you_mean(word: str, known: Iterable[str], closeness: float = 0.6) -> str:
    """The hint that names the closest known word; empty if none is close enough (1 means equal)."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1, cutoff=closeness)
    return f"did you mean `{close[0]}`?" if close else ""
