"""What a run prints, kept to a size that no disk minds."""

import os
import shutil
from pathlib import Path

LOG = "log.txt"
BEFORE = ".1"  # suffix of what was printed before
MOST = 16 * 2**20  # bytes of a log, and again of the one before (assumed)


def rotate(log: Path, most: int = MOST) -> None:
    """Set a log that has outgrown `most` bytes aside, its last `most` bytes at least, and empty it.

    Whoever prints holds the file open for appending, and goes on at its beginning: this way a worker that
    hangs, or prints in a loop, needs not to be asked. What is printed meanwhile may be lost.
    """
    try:
        size = log.stat().st_size
    except FileNotFoundError:
        return
    if size <= most:
        return
    with log.open("rb") as source, log.with_name(log.name + BEFORE).open("wb") as aside:
        source.seek(size - most)
        shutil.copyfileobj(source, aside)
    os.truncate(log, 0)
