"""What a run prints, kept to a size that no disk minds."""

from contextlib import suppress
from pathlib import Path

from rapidfire_cli.durable import disk

LOG = "log.txt"
BEFORE = ".1"  # suffix of what was printed before
MOST = 16 * 2**20  # bytes of a log, and again of the one before (assumed)


def rotate(log: Path, most: int = MOST) -> None:
    """Set the last `most` bytes of a log that has outgrown them aside, and empty it.

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
