"""The directory for files of user code, shared by the workers of an experiment.

`initialize_run` often creates a file, such as a tokenizer, if it is missing. Two workers that do so at once
would both create it and train with different ones. So only one worker of an experiment runs `initialize_run`
at a time. After a call that did not change the directory, runs that read the same knobs no longer wait.
"""

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from rapidfire_cli.terms import LeafConfig
from rapidfire_cli.training.tracked_config import Reads, agrees

LOG = re.compile(r"worker-\d+\.log")  # the workers' logs are in the directory too, and do not count

Listing: TypeAlias = Mapping[str, tuple[int, int]]
"""Every file below a directory, with its size and its time of modification in nanoseconds."""


class SharedFiles:
    """The directory, and the reads of runs whose `initialize_run` does not change it any more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._settled: list[Reads] = []

    @contextmanager
    def initializing(self, leaf: LeafConfig, reads: Reads) -> Iterator[None]:
        """Lock the directory if needed while the block calls `initialize_run`, which records its `reads`."""
        if any(agrees(each, leaf) for each in self._settled):
            yield
            return
        with alone(self.path):
            before = _listing(self.path)
            yield
            if _listing(self.path) == before:
                self._settled.append(dict(reads))


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Lock the directory during the block; do nothing if it is missing or locks are unsupported.

    The kernel releases the lock when the process ends.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # children forked in the meantime share the descriptor
        os.close(descriptor)


def _listing(path: Path) -> Listing:
    return dict(_files(path))


def _files(path: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    for directory, _, names in os.walk(path):
        for name in names:
            place = Path(directory, name)
            with suppress(OSError):  # another process may have deleted it
                stat = place.stat()
                if not LOG.match(name):
                    yield str(place), (stat.st_size, stat.st_mtime_ns)
