"""Load experiment files from disk."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from rapidfire_cli.problems import Problem, Refusal, SourceName, Span
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.syntax.extends import Opener, Source
from rapidfire_cli.syntax.overrides import SET, UNSET, Argument, arguments
from rapidfire_cli.syntax.parser import parse
from rapidfire_cli.syntax.text import MAX_BYTES

TRAINED = 1 << 26  # bytes of a file that was trained, at most (assumed)
_SUFFIXES = (".yaml", ".yml", ".toml", ".json")


class Given(NamedTuple):
    """The arguments for an experiment file: its path, overrides and size limit."""

    path: Path
    sets: Sequence[str] = ()
    unsets: Sequence[str] = ()
    max_bytes: int = MAX_BYTES


def load(
    path: Path, sets: Sequence[str] = (), unsets: Sequence[str] = (), max_bytes: int = MAX_BYTES
) -> ExperimentFile:
    """Load and parse the experiment file at `path`, with the files it extends and the overrides.

    Raises Refusal with every problem of it.
    """
    given = Given(path, sets, unsets, max_bytes)
    return understood(given, read(path, max_bytes), lambda text, file: _beside(text, file, max_bytes))


def reload(path: Path) -> ExperimentFile:
    """Load the file of a trained experiment, without the usual size limit. Raises Refusal."""
    return load(path, max_bytes=min(max(MAX_BYTES, path.stat().st_size), TRAINED))


def parsed(path: Path) -> ExperimentFile:
    """Parse the file at `path`, with the files it extends, without the checks of runs. Raises Refusal."""
    return parse(read(path), str(path), MAX_BYTES, lambda text, file: _beside(text, file, MAX_BYTES))


def understood(given: Given, data: bytes, opener: Opener) -> ExperimentFile:
    """Parse the file's bytes; `opener` reads the files they extend. Raises Refusal with every problem."""
    from rapidfire_cli.manifest.check import checked

    return checked(parse(data, str(given.path), given.max_bytes, opener, changes(given)))


def changes(given: Given) -> list[Argument]:
    """The overrides from the command line, in the order in which they apply."""
    return [*arguments(UNSET, given.unsets), *arguments(SET, given.sets)]


def read(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Read the file, at most one byte more than the limit. Raises Refusal if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(max_bytes + 1)
    except FileNotFoundError:
        raise _refused("E501", path, "file not found", _nearby(path)) from None
    except IsADirectoryError:
        raise _refused("E502", path, "this is a directory, not an experiment file", _inside(path)) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise _refused("E503", path, f"cannot read the file: {reason}", "") from None


def code(span: Span) -> Span:
    """The same place in the user's code, with the text of its file."""
    with suppress(OSError):
        text = Path(span.file).read_bytes().decode(errors="replace")
        return span._replace(file=SourceName(span.file, text))
    return span


def argument(option: str, text: str) -> Span:
    """The span of an option's argument."""
    return Span(SourceName(option, text), 1, 1, max(1, len(text)))


def _beside(text: str, file: str, max_bytes: int) -> Source:
    """Read a file by its path relative to another file."""
    path = Path(os.path.normpath(Path(file).parent / text))
    return Source(str(path), read(path, max_bytes))


def _refused(code: str, path: Path, message: str, hint: str) -> Refusal:
    return Refusal([Problem(code, message, Span(str(path), 1, 1), hint=hint)])


def _nearby(path: Path) -> str:
    from difflib import get_close_matches

    near = get_close_matches(path.name, [other.name for other in _files(path.parent)], n=1)
    usual = "`rapidfire --help` lists the verbs"
    return f"did you mean `{path.with_name(near[0])}`?" if near else usual


def _inside(path: Path) -> str:
    files = _files(path)
    return f"did you mean `{files[0]}`?" if files else ""


def _files(directory: Path) -> list[Path]:
    """The experiment files that a directory seems to hold."""
    return sorted(path for path in directory.glob("*") if path.suffix in _SUFFIXES)
