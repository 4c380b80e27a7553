"""The file that an experiment's directory belongs to, so that two files never share one by accident.

A directory's name is made from what a person wrote: `sweep one.yaml` and `sweep-one.yaml` lead to the same
directory, and so do `a/lr.yaml` and `b/lr.yaml`. The journal therefore keeps the name as it was written, and
the place of the file. Two sources count as the same one unless they are known to differ: a file that moved,
alone or together with its experiments, keeps its directory.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from rapidfire_cli.problems import Problem, Refusal, Span
from rapidfire_cli.store.layout import ExperimentDir


@dataclass(frozen=True, slots=True)
class Source:
    """What an experiment was read from."""

    name: str  # as written: after `experiment:`, else the file's stem; in Python the class's path
    given: bool  # whether a person chose the name, so that it means one experiment wherever it is written
    path: str | None = None  # of the file, relative to the directory of the experiments; None without a file


def file_source(file: Path, name: str | None, home: ExperimentDir) -> Source | None:
    """The source of an experiment file with this `name`, or None without a name.

    None for a file that the experiment's directory itself holds: it belongs to whatever the directory does.
    """
    real = os.path.realpath(file)
    if Path(real).is_relative_to(os.path.realpath(home.path)):
        return None
    path = os.path.relpath(real, os.path.realpath(home.path.parent))
    return Source(file.stem if name is None else name, name is not None, path)


def check_source(home: ExperimentDir, was: Source | None, now: Source | None, at: Span) -> None:
    """Raises Refusal when the directory belongs to another file."""
    if was is None or now is None or _may_be_the_same(home.path.parent, was, now):
        return
    message = f"{home.path} belongs to another {'file' if was.path else 'class'}"
    own = "`experiment: NAME` in the file" if now.path else "`name=` in Python"
    hint = (
        f"give it its own directory with {own}, or use `--fresh` to start over and move existing files aside"
    )
    raise Refusal([Problem("E609", message, at, expected=_shown(home, was), hint=hint)])


def _may_be_the_same(parent: Path, was: Source, now: Source) -> bool:
    if (was.given and now.given) or (was.path and was.path == now.path):
        return True
    if not was.given and not now.given and was.name != now.name:
        return False
    if was.path is None or now.path is None:
        return True
    before, after = (_place(parent, path) for path in (was.path, now.path))
    return not before.is_file() or before.read_bytes() == after.read_bytes()


def _shown(home: ExperimentDir, source: Source) -> str:
    if source.path is None:
        return source.name
    return os.path.relpath(_place(home.path.parent, source.path))


def _place(parent: Path, path: str) -> Path:
    return Path(os.path.normpath(os.path.join(os.path.realpath(parent), path)))  # noqa: PTH118 - the links are resolved
