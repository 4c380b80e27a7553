"""Write without waiting for the reader: a queue, and a thread that writes its items.

Theory of operation: `put` never blocks. The thread alone meets a full pipe or a terminal that Ctrl-S stopped.
Whoever wants order (progress before the ranking that follows it) calls `settle`, which returns when all is
written, or when nothing has been written for as long as its caller has patience. A queue with a limit drops
its oldest pieces and says in their place how many lines it dropped; one without a limit keeps everything.
"""

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

SLICE = 1 << 12  # bytes written at once: a reader that takes this many is slow, not stalled (assumed)
LOST = b"... %d lines not shown: they were not read in time ...\n"


class Drain:
    """Passes pieces to `write`, in order; at most `limit` bytes wait, or any number without a limit."""

    def __init__(self, write: Callable[[bytes], None], limit: int | None = None) -> None:
        self._write = write
        self._limit = limit
        self._changed = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._waiting = 0  # bytes of the pieces
        self._lost = 0  # lines dropped since the last piece was taken
        self._busy = False  # the thread has taken a piece that is not written yet
        self._piece, self._at = b"", 0  # that piece, and how far it is written
        self._moved = 0.0  # when it last wrote one, by the clock
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    @property
    def behind(self) -> bool:
        """Whether something is not written yet."""
        return self._busy or bool(self._pieces)

    def hand(self, piece: bytes, moment: float) -> None:
        """Add a piece, and wait a moment until it is written, unless others wait already. Raises OSError."""
        patience = 0.0 if self.behind else moment
        self.put(piece)
        self.settle(patience)

    def put(self, piece: bytes) -> None:
        """Add a piece to the queue. Raises the OSError that `write` raised, once; then nothing is kept."""
        with self._changed:
            self._complain()
            self._pieces.append(piece)
            self._waiting += len(piece)
            while self._limit is not None and self._waiting > self._limit and len(self._pieces) > 1:
                self._lost += self._taken().count(b"\n")
            self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._drain, name="drain", daemon=True)
            self._thread.start()

    def settle(self, patience: float) -> bool:
        """Wait until all is written or nothing was for `patience` seconds; whether all is. Raises OSError."""
        with self._changed:
            began = monotonic()
            while self.behind:
                left = max(began, self._moved) + patience - monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
            self._complain()
        return True

    def abandon(self) -> int:
        """Drop what is not written; return its number of lines."""
        with self._changed:
            begun = self._piece[self._at :] if self._busy else b""
            left = self._lost + sum(piece.count(b"\n") for piece in (begun, *self._pieces))
            self._pieces.clear()
            self._waiting = self._lost = 0
        return left

    def _complain(self) -> None:
        error, self._error = self._error, None
        if error:
            raise error

    def _taken(self) -> bytes:
        piece = self._pieces.popleft()
        self._waiting -= len(piece)
        return piece

    def _drain(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                while not self._pieces:
                    self._changed.wait()
                self._piece, self._at, self._busy = self._taken(), 0, True
                if self._lost:
                    self._piece, self._lost = LOST % self._lost + self._piece, 0
            try:
                while self._at < len(self._piece):
                    self._write(self._piece[self._at : self._at + SLICE])
                    self._at += SLICE
                    self._moved = monotonic()
            except OSError as error:
                with self._changed:
                    self._error = error
                    self._pieces.clear()
                    self._waiting = 0
