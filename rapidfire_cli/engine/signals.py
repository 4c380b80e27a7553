"""Signals that ask the controller to stop, as a flag that its loop polls."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignal:
    """The first signal asks for a stop that loses nothing; a second Ctrl-C raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._wanted = False

    def ask(self) -> None:
        """Ask for a stop without a signal."""
        self._wanted = True

    def asked(self) -> bool:
        """Whether a stop was asked for."""
        return self._wanted or self.number is not None

    def take(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = self.number or number


@contextmanager
def stop_signal() -> Iterator[StopSignal]:
    """Handle the stopping signals inside; restore the previous handlers afterwards.

    Only the main thread can listen. What is ignored stays ignored, as `nohup` wants it.
    """
    stop = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    heeded = [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop.take) for number in heeded}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
