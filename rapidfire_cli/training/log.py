"""A run's log: whatever is printed while the run trains, by Python or below it."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from rapidfire_cli.durable import disk

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STANDARD = (1, 2)  # the descriptors of stdout and stderr


class Log(io.FileIO):
    """What a full disk does not take is lost, and whoever prints goes on."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Append to `path` what is written to stdout and stderr, line by line. Raises OSError."""
    raw = io.BufferedWriter(Log(disk.append(path), "a"))
    with io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True) as log:
        kept = [os.dup(descriptor) for descriptor in STANDARD]
        _flush()
        for descriptor in STANDARD:
            os.dup2(log.fileno(), descriptor)
        try:
            with redirect_stdout(log), redirect_stderr(log):
                yield
        finally:
            _flush()
            for descriptor, former in zip(STANDARD, kept, strict=True):
                os.dup2(former, descriptor)
                os.close(former)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
