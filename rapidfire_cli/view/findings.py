"""Problems as programs read them: objects, and annotations of a pull request."""

from collections.abc import Iterable

from rapidfire_cli.problems import Problem, Severity, visible
from rapidfire_cli.terms import Plain


def problems_document(problems: Iterable[Problem]) -> dict[str, Plain]:
    """Problems as one document."""
    return {"problems": [problem_record(problem) for problem in problems]}


def problem_record(problem: Problem) -> dict[str, Plain]:
    """The problem as plain data; what it does not have is null."""
    span = problem.span
    return {
        "code": problem.code,
        "severity": str(problem.severity),
        "message": problem.message,
        "file": str(span.file) if span else None,
        "line": span.line if span else None,
        "column": span.column if span else None,
        "found": problem.found or None,
        "expected": problem.expected or None,
        "hint": problem.hint or None,
    }


def annotation(problem: Problem) -> str:
    """The workflow command that makes GitHub show the problem at its line.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions; the escapes are those of
    github.com/actions/toolkit, packages/core/src/command.ts.
    """
    span = problem.span
    in_file = span and span.line and not span.file.startswith("--")  # an option's argument is in none
    where = {"file": str(span.file), "line": span.line, "col": span.column} if span and in_file else {}
    properties = ",".join(
        f"{key}={_property(f'{value}')}" for key, value in {**where, "title": problem.code}.items()
    )
    details = {"found": problem.found, "expected": problem.expected, "hint": problem.hint}
    lines = [problem.message, *(f"{name}: {text}" for name, text in details.items() if text)]
    return f"::{problem.severity} {properties}::" + _escaped("\n".join(map(visible, lines)))


def notice(severity: Severity, title: str, text: str) -> str:
    """The workflow command that makes GitHub show a text that belongs to no line."""
    return f"::{severity} title={_property(title)}::{_escaped(visible(text))}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
