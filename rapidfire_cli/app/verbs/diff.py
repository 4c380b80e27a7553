"""`diff`: what changes between the runs of two files."""

import sys

from rapidfire_cli.app.errors import say
from rapidfire_cli.app.files import Given
from rapidfire_cli.app.printing import print_rows
from rapidfire_cli.app.revisions import load_either
from rapidfire_cli.manifest.counting import total
from rapidfire_cli.manifest.difference import difference, shared_changes
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.varied import varied
from rapidfire_cli.problems import Problem, Refusal, Span
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.view.difference import (
    difference_document,
    difference_records,
    difference_table,
    headline,
    shared_lines,
)
from rapidfire_cli.view.formats import Output

MOST_RUNS = 1_000_000  # of a file: both are held in memory, a kilobyte per run (measured)
DIFFERENT = 1


def diff(before: Given, after: Given, output: Output, exit_code: bool) -> int:
    """Print which runs are added, removed, changed and kept; the exit code."""
    try:
        old, new = _comparable(before), _comparable(after)
        found = difference(expand(old), expand(new))
    except Refusal as refusal:
        return say(refusal.problems, output)
    shared = shared_changes(old, new)
    if output is Output.TABLE:
        print(f"{before.path} → {after.path}: {headline(found)}")
        sys.stdout.writelines(f"{line}\n" for line in shared_lines(shared))
    if output is not Output.TABLE or found.differs:
        print_rows(
            output,
            lambda: difference_table(found, list(dict.fromkeys([*varied(old), *varied(new)]))),
            lambda: difference_document(found, shared),
            lambda: difference_records(found),
        )
    return DIFFERENT if exit_code and found.differs else 0


def _comparable(given: Given) -> ExperimentFile:
    """The file, its warnings said. Raises Refusal when it cannot be expanded, or has too many runs."""
    file = load_either(given)
    say(file.warnings)
    if total(file) > MOST_RUNS:
        top, expected = Span(str(given.path), 1, 1), f"at most {MOST_RUNS:,}"
        sys.set_int_max_str_digits(0)
        raise Refusal(
            [Problem("E540", "these are too many runs to compare", top, f"{total(file):,} runs", expected)]
        )
    return file
