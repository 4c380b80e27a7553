"""`explain`: the error codes, each with an example."""

import sys
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable

from rapidfire_cli.app.errors import REFUSED
from rapidfire_cli.problems import TITLES, did_you_mean, visible

CATALOGUE = resources.files("rapidfire_cli") / "catalogue"
"""A directory per code: its explanation, and files with the command that goes wrong on them.

The tests run each case and compare what is said, word for word.
"""
EXPLANATION, COMMAND, STDERR = "explanation.md", "command", "stderr.txt"
SHOWN = (".yaml", ".toml", ".json", ".jsonl", ".py")
INDENT = "    "


def explain(code: str | None) -> int:
    """Print the explanation of a code, or all codes with their titles; return the exit code."""
    if code is None:
        sys.stdout.writelines(f"{code}  {title}\n" for code, title in TITLES.items())
        return 0
    code = code.upper()
    if code not in TITLES:
        hint = did_you_mean(code, TITLES) or "`rapidfire explain` lists all codes"
        print(f"error: unknown code {visible(code)}\nhint: {hint}", file=sys.stderr)
        return REFUSED
    sys.stdout.writelines(f"{line}\n" for line in explanation(code))
    return 0


def explanation(code: str) -> Iterator[str]:
    """The lines that explain a code: its title, what it means, an example."""
    case = CATALOGUE / code
    yield f"{code}: {TITLES[code]}"
    yield ""
    yield from _lines(case / EXPLANATION)
    yield ""
    for name, file in _files(case):
        yield from _block(name, _lines(file))
    command = case / COMMAND
    asked = [f"$ rapidfire {line}" for line in _lines(command)] if command.is_file() else []
    yield from _block("\n".join(asked) or "output", _lines(case / STDERR))


def _files(directory: Traversable, below: str = "") -> Iterator[tuple[str, Traversable]]:
    """The example's own files, by their paths in it."""
    for file in sorted(directory.iterdir(), key=lambda file: file.name):
        if file.is_dir():
            yield from _files(file, f"{below}{file.name}/")
        elif file.name.endswith(SHOWN):
            yield f"{below}{file.name}", file


def _block(title: str, lines: list[str]) -> Iterator[str]:
    yield title
    yield from (f"{INDENT}{line}".rstrip() for line in lines)
    yield ""


def _lines(file: Traversable) -> list[str]:
    text = file.read_bytes().decode("utf-8", errors="replace")
    return [visible(line) for line in text.removesuffix("\n").split("\n")]
