"""Translate libyaml's errors into problems with hints."""

from typing import Any, NamedTuple

from rapidfire_cli.problems import Problem, Span


class Advice(NamedTuple):
    """A message with its expected and hint texts."""

    message: str
    expected: str = ""
    hint: str = ""


_QUOTE = "quote strings that contain special characters"
_UNCLOSED = (
    "did not find expected ',' or ']'",
    "did not find expected ',' or '}'",
    "found unexpected end of stream",
)
_ADVICE = {
    "mapping values are not allowed in this context": Advice(
        "unexpected `:`",
        hint="check the indentation of this line and the one above, or quote the string",
    ),
    "block sequence entries are not allowed in this context": Advice(
        "a list cannot start here", hint="start the list on a line of its own"
    ),
    "did not find expected key": Advice(
        "expected a key or the end of the mapping",
        "a key, indented like the keys before it",
        "check the indentation, and quotes within quotes",
    ),
    "did not find expected '-' indicator": Advice(
        "expected a list item or the end of the list", "`- `, indented like the items before it"
    ),
    "did not find expected ',' or ']'": Advice("this list is not closed", "`,` or `]`"),
    "did not find expected ',' or '}'": Advice("this mapping is not closed", "`,` or `}`"),
    "did not find expected node content": Advice("missing value", "a value, or the closing bracket"),
    "could not find expected ':'": Advice("missing `:` after a key", "`:` after the key"),
    "found unexpected end of stream": Advice("unterminated string", "the same quote at its end"),
    "found a tab character that violates indentation": Advice(
        "tabs cannot be used for indentation", "spaces"
    ),
    "found a tab character where an indentation space is expected": Advice(
        "tabs cannot be used for indentation", "spaces"
    ),
    "found unknown escape character": Advice(
        "unknown escape",
        'one such as \\n, \\t, \\", \\\\ or \\u00e9',
        "use single quotes for a literal backslash",
    ),
    "found invalid Unicode character escape code": Advice(
        "the escape is not a valid character", "a code up to 10ffff, outside d800 to dfff"
    ),
    "did not find expected hexdecimal number": Advice("incomplete escape", "hexadecimal digits"),
}


def explain(error: Any, text: str, file: str) -> Problem:
    """Translate a `yaml.MarkedYAMLError` into a problem, located where the mistake is."""
    message, expected, hint = _ADVICE.get(error.problem) or _by_character(error, text)
    mark = error.problem_mark
    if error.problem in _UNCLOSED:
        hint = f"the parser stopped at line {mark.line + 1}, column {mark.column + 1}"
        mark = error.context_mark
    return Problem("E104", message, Span(file, *_place(mark, text)), "", expected, hint)


def _place(mark: Any, text: str) -> tuple[int, int]:
    """The mark's line and column; at the end of the file, those after its last text."""
    said = text.rstrip()
    if mark.index < len(said):
        return mark.line + 1, mark.column + 1
    return said.count("\n") + 1, len(said) - said.rfind("\n")


def _by_character(error: Any, text: str) -> Advice:
    """The advice for errors that depend on the next character."""
    character = text[error.problem_mark.index : error.problem_mark.index + 1]
    if error.problem != "found character that cannot start any token":
        return Advice(f"invalid YAML: {error.problem}", hint=_QUOTE)
    if character == "\t":
        return Advice("tabs cannot be used for indentation", "spaces")
    return Advice(f"a value cannot start with `{character}`", hint=_QUOTE)
