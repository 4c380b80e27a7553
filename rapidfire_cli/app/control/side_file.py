"""`requests.jsonl`: every request that changes something, durable before it does.

The journal knows more, but it can be lost: from this file `repair` learns what people decided, so that a
rebuilt journal resurrects nothing. A request that is here but not in the journal was interrupted by a kill,
and is carried out by whoever takes the lock next.
"""

import os
from collections.abc import Iterator
from contextlib import suppress

from rapidfire_cli.durable import disk, publication
from rapidfire_cli.requests import Request, decode_request, encode
from rapidfire_cli.store.layout import ExperimentDir


def note(home: ExperimentDir, request: Request) -> None:
    """Add the request; it is durable when this returns. Raises OSError."""
    file = home.requests
    before = "\n" if _is_torn(home) else ""
    publication.append(file, f"{before}{encode(request)}\n")
    if file.stat().st_size <= len(encode(request)) + 1:  # it is new, and so is its name
        disk.sync(home.path)


def noted(home: ExperimentDir) -> Iterator[Request]:
    """The requests in their order; a line that was cut off never had an effect, and is skipped."""
    if home.requests.is_file():
        for line in home.requests.read_bytes().splitlines():
            with suppress(ValueError):
                yield decode_request(line)


def _is_torn(home: ExperimentDir) -> bool:
    """Whether the last line lacks its end, as after a kill or on a full disk."""
    try:
        with home.requests.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:  # there is no file yet, or nothing in it
        return False
