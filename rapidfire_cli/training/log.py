"""A run's log: whatever is printed while the run trains, by Python or below it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

STANDARD = (1, 2)  # the descriptors of stdout and stderr


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Append to `path` what is written to stdout and stderr, line by line."""
    with path.open("a", buffering=1, encoding="utf-8", errors="backslashreplace") as log:
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
