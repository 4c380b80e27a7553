"""Heartbeats and leases: memory that a worker shares with the process that started it.

The worker writes the progress of a turn at every mark of the training loop, for next to nothing; it is still
there when the worker is gone. The other way, a process that may be cut off from the controller writes until
when the worker may live: after that it ends by itself, at its next mark at the latest.
"""

import mmap
import os
import signal
import time

from rapidfire_cli.engine.ports import Heartbeat

SIZE = 24  # bytes: three 64-bit integers
DUMP = signal.SIGUSR1  # makes a worker write its stack traces
SECOND = 10**9  # nanoseconds


def now() -> int:
    """Nanoseconds since the machine started, the time in which it was suspended included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Page:
    """The shared page."""

    def __init__(self, descriptor: int) -> None:
        self._cells = memoryview(mmap.mmap(descriptor, SIZE)).cast("q")

    def mark(self, step: int) -> None:
        """Report progress: the run has taken this many optimizer steps."""
        self._cells[0] += 1
        self._cells[1] = step

    def read(self) -> Heartbeat:
        """Read the worker's progress."""
        return Heartbeat(self._cells[0], self._cells[1])

    def lease(self, until: int) -> None:
        """Let the worker live until then, in nanoseconds as `now` counts them; 0 for as long as it likes."""
        self._cells[2] = until

    @property
    def left(self) -> float | None:
        """How many seconds the worker may still live; None for as long as it likes."""
        until = self._cells[2]
        return (until - now()) / SECOND if until else None


def blank() -> int:
    """The descriptor of a new page, without a file."""
    descriptor = os.memfd_create("heartbeat")
    os.ftruncate(descriptor, SIZE)
    return descriptor
