"""`diff`: compare the runs of two files, on disk or in git (`REV:path`)."""

import posixpath
import subprocess
import sys

from rapidfire_cli.app.errors import say
from rapidfire_cli.app.files import Given, load, understood
from rapidfire_cli.app.printing import print_rows
from rapidfire_cli.manifest.counting import proposals, total
from rapidfire_cli.manifest.difference import difference, shared_changes
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.varied import varied
from rapidfire_cli.problems import Problem, Refusal, Span
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.syntax.extends import Source
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
        born = [sum(map(proposals, file.groups)) for file in (old, new)]
        if any(born):
            many = f"{born[0]:,} before and {born[1]:,} after"
            print(f"not compared: runs that are born while others train ({many})")
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
    """Load a file and print its warnings. Raises Refusal if it cannot be expanded or has too many runs."""
    file = _loaded(given)
    say(file.warnings)
    if total(file) > MOST_RUNS:
        top, expected = Span(str(given.path), 1, 1), f"at most {MOST_RUNS:,}"
        sys.set_int_max_str_digits(0)
        raise Refusal([Problem("E540", "too many runs to compare", top, f"{total(file):,} runs", expected)])
    return file


def _loaded(given: Given) -> ExperimentFile:
    """The experiment file on disk or, where there is none of that name, in git. Raises Refusal."""
    name, limit = str(given.path), given.max_bytes
    if ":" not in name or given.path.exists():
        return load(*given)
    return understood(given, _read(name, limit), lambda text, file: _beside(text, file, limit))


def _beside(text: str, file: str, max_bytes: int) -> Source:
    """The file of the same revision that another one names, relative to that one."""
    revision, _, inside = file.partition(":")
    name = f"{revision}:{posixpath.normpath(posixpath.join(posixpath.dirname(inside), text))}"
    return Source(name, _read(name, max_bytes))


def _read(name: str, max_bytes: int) -> bytes:
    """Read a file from git, at most one byte more than the limit. Raises Refusal."""
    command = ["git", "cat-file", "blob", "--end-of-options", name]
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as git:
            assert git.stdout
            data = git.stdout.read(max_bytes + 1)
    except FileNotFoundError:
        raise _missing(name, "git is not installed") from None
    is_whole = len(data) <= max_bytes  # else git fails because its pipe is closed early
    if git.returncode and is_whole:
        raise _missing(name, "`git show REV:path` may say more; paths start at the root of the repository")
    return data


def _missing(name: str, hint: str) -> Refusal:
    return Refusal([Problem("E504", "file not found in git", Span(name, 1, 1), hint=hint)])
