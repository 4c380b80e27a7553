"""Errors as people read them, and exit codes as scripts read them."""

import os
import sys
from collections.abc import Callable, Sequence

from rapidfire_cli.app.streams import ReaderGone, debugging
from rapidfire_cli.problems import Problem, Refusal, render
from rapidfire_cli.view.findings import annotation, problem_record, problems_document
from rapidfire_cli.view.formats import Output, json_line, json_text, yaml_text

REFUSED, HELD, ENVIRONMENT, BUG = 2, 4, 5, 70
INTERRUPTED, UNREAD = 130, 141  # 128 + SIGINT, 128 + SIGPIPE, as shells say it


class Unavailable(Exception):  # noqa: N818 - what the environment is
    """The environment lacks something; the argument says what."""


def explain(error: Exception | KeyboardInterrupt) -> int:
    """Print an error on stderr, without a traceback; return its exit code."""
    import sqlite3
    import traceback

    from rapidfire_cli.durable.lock import Held

    match error:
        case KeyboardInterrupt():
            return INTERRUPTED
        case ReaderGone():
            return UNREAD
        case Refusal(problems=problems):
            return say(problems)
        case Held():
            return _line(f"error: the experiment is in use by another process ({error})", HELD)
        case Unavailable():
            return _line(f"error: {error}", ENVIRONMENT)
        case UnicodeEncodeError(object=text, encoding=encoding):
            why = f"cannot be printed in the locale's encoding ({encoding}); set LC_ALL=C.UTF-8"
            return _line(f"error: {text!a}: {why}", ENVIRONMENT)
        case OSError():
            from rapidfire_cli.durable.publication import intended

            place = f"{intended(str(error.filename))}: " if error.filename else ""
            return _line(f"error: {place}{error.strerror or error}", ENVIRONMENT)
        case sqlite3.OperationalError(sqlite_errorcode=code) if code != sqlite3.SQLITE_ERROR:
            # an invalid statement is a bug in rapidfire
            return _line(f"error: cannot write the journal: {error}", ENVIRONMENT)
        case _:
            cause = traceback.format_exception_only(error)[-1].strip()
            report = "please report it; `--debug` prints the traceback"
            return _line(f"error: internal error: {cause} ({report})", BUG)


def reported(work: Callable[[], int], output: Output) -> int:
    """Run `work` and return its exit code; print problems in the `output` format."""
    try:
        return work()
    except Refusal as refusal:
        return say(refusal.problems, output)


def say(problems: Sequence[Problem], output: Output = Output.TABLE) -> int:
    """Print problems, as data to stdout if requested; return the exit code.

    Everything else goes to stderr, with the lines that the problems point at; GitHub takes annotations there.
    """
    if problems and os.environ.get("GITHUB_ACTIONS") == "true":
        print("\n".join(map(annotation, problems)), file=sys.stderr)
    if output is Output.JSON:
        print(json_text(problems_document(problems)))
    elif output is Output.YAML:
        print(yaml_text(problems_document(problems)))
    elif output is Output.JSONL:
        events = ({"event": "problem", **problem_record(problem)} for problem in problems)
        sys.stdout.writelines(f"{json_line(event)}\n" for event in events)
    elif problems:
        print("\n\n".join(map(render, problems)), file=sys.stderr)
    if debugging(os.environ):
        for traced in dict.fromkeys(problem.traceback for problem in problems if problem.traceback):
            print(f"\n{traced}", end="", file=sys.stderr)
    return REFUSED if problems else 0


def _line(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code
