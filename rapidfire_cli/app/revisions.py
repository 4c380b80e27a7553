"""Experiment files as git keeps them: `REV:path`, the path from the repository's root."""

import posixpath
import subprocess

from rapidfire_cli.app.files import Given, load, remember, understood
from rapidfire_cli.problems import Problem, Refusal, Span
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.syntax.extends import Source


def load_either(given: Given) -> ExperimentFile:
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
    """What git keeps under the name, of a larger file one byte more than the limit. Raises Refusal."""
    command = ["git", "cat-file", "blob", "--end-of-options", name]
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as git:
            assert git.stdout
            data = git.stdout.read(max_bytes + 1)
    except FileNotFoundError:
        raise _missing(name, "git is not installed") from None
    if git.returncode and len(data) <= max_bytes:  # beyond, git dies of the pipe that nobody reads
        raise _missing(name, "`git show REV:path` says more; the path begins at the repository's root")
    remember(name, data.decode("utf-8", errors="replace"))
    return data


def _missing(name: str, hint: str) -> Refusal:
    return Refusal([Problem("E504", "git keeps no such file", Span(name, 1, 1), hint=hint)])
