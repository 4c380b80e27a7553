"""`requests.jsonl`: every request that changes something, durable before it does.

The journal knows more, but it can be lost: from this file `repair` learns what people decided, so that a
rebuilt journal resurrects nothing. A request that is here but not in the journal was interrupted by a kill,
and is carried out by whoever takes the lock next.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rapidfire_cli.durable import disk, publication
from rapidfire_cli.requests import Request, decode_request, encode
from rapidfire_cli.store.layout import ExperimentDir


def note(home: ExperimentDir, request: Request) -> None:
    """Add the request; it is durable when this returns. Raises OSError."""
    is_new = not home.requests.exists()
    add_line(home.requests, f"{encode(request)}\n")
    if is_new:
        disk.sync(home.path)


def add_line(file: Path, line: str) -> None:
    """Append the line, durably, after removing one that was cut off by a kill or a full disk."""
    if _is_torn(file):
        whole = file.read_bytes()
        publication.write(file, whole[: whole.rfind(b"\n") + 1].decode())
    publication.append(file, line)


def noted(home: ExperimentDir) -> Iterator[Request]:
    """The requests in their order; a line that was cut off never had an effect, and is skipped."""
    if home.requests.is_file():
        for line in home.requests.read_bytes().splitlines():
            with suppress(ValueError):
                yield decode_request(line)


def _is_torn(path: Path) -> bool:
    """Whether the last line lacks its end."""
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:  # there is no file yet, or nothing in it
        return False
