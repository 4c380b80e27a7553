"""Heartbeats: how far a turn is, in memory that a worker shares with the controller.

Written at every mark of the training loop for next to nothing, and still there when the worker is gone.
"""

import mmap
import os
import signal
from dataclasses import dataclass

SIZE = 16  # bytes: two 64-bit integers
DUMP = signal.SIGUSR1  # has a worker write down where it stands


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What the page says."""

    marks: int  # how often the worker moved on: any change is progress
    step: int  # optimizer steps of the run that it trained last


class Page:
    """The shared page; one side marks, the other reads."""

    def __init__(self, descriptor: int) -> None:
        self._cells = memoryview(mmap.mmap(descriptor, SIZE)).cast("q")

    def mark(self, step: int) -> None:
        """The run moved on and has taken so many optimizer steps."""
        self._cells[0] += 1
        self._cells[1] = step

    def read(self) -> Heartbeat:
        """How far the worker is."""
        return Heartbeat(self._cells[0], self._cells[1])


def blank() -> int:
    """The descriptor of a new page; no file anywhere."""
    descriptor = os.memfd_create("heartbeat")
    os.ftruncate(descriptor, SIZE)
    return descriptor
