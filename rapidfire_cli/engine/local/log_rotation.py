"""A run's log: read its end, and limit its size."""

import os
import re
from contextlib import suppress
from pathlib import Path

from rapidfire_cli.durable import disk

LOG = "log.txt"
BEFORE = ".1"  # suffix of the rotated log
TAIL = 1 << 14  # bytes of a log that are searched for an error (assumed; a traceback is shorter)
ERROR = re.compile(r"[\w.]*(Error|Exception|Warning|Exit)(:|$)|Fatal Python error: ")
MOST = 16 * 2**20  # bytes of a log, and again of the one before (assumed)


def last_error(log: Path, begun: int) -> str:
    """The last error in a log after its first `begun` bytes; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(begun, log.stat().st_size - TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if ERROR.match(line)), "")


def log_end(log: Path, most: int) -> bytes:
    """The last lines of a log, at most `most` bytes; only the end of a last line that is longer.

    Raises OSError.
    """
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - most))
        data = file.read()
    return data if size <= most else data.partition(b"\n")[2] or data


def has_outgrown(log: str, most: int = MOST) -> bool:
    """Whether the file is larger than `most` bytes; asked for every turn, so without a Path."""
    try:
        return os.stat(log).st_size > most  # noqa: PTH116
    except OSError:
        return False


def rotate(log: Path, most: int = MOST) -> None:
    """Move the last `most` bytes of a log that is larger to another file, and truncate it.

    Whoever prints holds the file open for appending, and goes on at its beginning: this way a worker that
    hangs, or prints in a loop, needs not to be asked. What is printed meanwhile may be lost.
    """
    try:
        size = log.stat().st_size
    except FileNotFoundError:
        return
    if size <= most:
        return
    aside = log.with_name(log.name + BEFORE)
    with suppress(OSError):  # then it goes on growing
        disk.unlink(aside)
        with log.open("rb") as source, disk.create(aside) as copy:
            source.seek(size - most)
            copy.write(source.read()[-most:])  # it may grow while it is read
        disk.empty(log)
