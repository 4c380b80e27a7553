"""The directory in which the user's code keeps files of its own, shared by the workers of an experiment.

`initialize_run` usually looks whether a file is there and makes it if not, such as a tokenizer. Two workers
that do so at once would both make it, and train with different ones; so only one at a time runs it in an
experiment. Once it has left the directory as it was, runs that read the same knobs need not wait any more.
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

LOG = re.compile(r"worker-\d+\.log")  # the workers' own logs lie there, too

Listing: TypeAlias = Mapping[str, tuple[int, int]]
"""Every file below a directory, with its size and when it was written, in nanoseconds."""


class SharedFiles:
    """The directory, and what is known of runs for which it holds everything."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._settled: list[Reads] = []

    @contextmanager
    def initializing(self, leaf: LeafConfig, reads: Reads) -> Iterator[None]:
        """Run `initialize_run` of a run inside; `reads` takes what it reads of its leaf config."""
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
    """Hold the directory; the lock falls with the process. Without it, or without locks, nothing waits."""
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
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # children that were forked meanwhile share the descriptor
        os.close(descriptor)


def _listing(path: Path) -> Listing:
    return dict(_files(path))


def _files(path: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    for directory, _, names in os.walk(path):
        for name in names:
            place = Path(directory, name)
            with suppress(OSError):  # another process has just deleted it
                stat = place.stat()
                if not LOG.match(name):
                    yield str(place), (stat.st_size, stat.st_mtime_ns)
