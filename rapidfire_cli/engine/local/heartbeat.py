"""Heartbeats: the progress of a turn, in memory that a worker shares with the controller.

Written at every mark of the training loop for next to nothing, and still there when the worker is gone.
"""

import mmap
import os
import signal

from rapidfire_cli.engine.ports import Heartbeat

SIZE = 16  # bytes: two 64-bit integers
DUMP = signal.SIGUSR1  # makes a worker write its stack traces


class Page:
    """The shared page; the worker writes it, the controller reads it."""

    def __init__(self, descriptor: int) -> None:
        self._cells = memoryview(mmap.mmap(descriptor, SIZE)).cast("q")

    def mark(self, step: int) -> None:
        """Report progress: the run has taken this many optimizer steps."""
        self._cells[0] += 1
        self._cells[1] = step

    def read(self) -> Heartbeat:
        """Read the worker's progress."""
        return Heartbeat(self._cells[0], self._cells[1])


def blank() -> int:
    """The descriptor of a new page, without a file."""
    descriptor = os.memfd_create("heartbeat")
    os.ftruncate(descriptor, SIZE)
    return descriptor
