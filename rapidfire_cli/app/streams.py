"""Standard streams that never make training wait for their reader.

Progress and problems (stderr) are dropped where nobody reads them. Data (stdout) are kept: a command waits
for its reader, but training goes on meanwhile (`unhurried`), and a reader that is gone is reported.
"""

import atexit
import codecs
import io
import os
import select
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, TextIO

from rapidfire_cli.view.signs import PLAIN

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from rapidfire_cli.app.drain import Drain


MOST_UNREAD = 1 << 18  # bytes of progress that wait for a reader (assumed: some thousand lines)
MOMENT = 0.05  # seconds to wait for a write (assumed)
PATIENCE = 2.0  # seconds without a read after which a reader has stalled (assumed)

SIMPLER = "rapidfire.simpler"  # how errors of encoding are handled

DEBUG = "RAPIDFIRE_DEBUG"
"""The environment variable that asks for Python tracebacks on stderr; `--debug` sets it to 1."""


def debugging(environment: Mapping[str, str]) -> bool:
    """Whether Python tracebacks are asked for."""
    return environment.get(DEBUG, "0") not in ("", "0")


class ReaderGone(Exception):  # noqa: N818 - what happened
    """The reader of the output has gone, as `head` does when it has enough."""


class ProgressStream(io.FileIO):
    """The stream for progress and problems; unread output is dropped, and work continues.

    A write returns when it is done, as any other; once one has taken too long, none waits until all are done.
    """

    _drain: "Drain | None" = None

    @property
    def behind(self) -> bool:
        """Whether something is not written yet."""
        return self._drain is not None and self._drain.behind

    def write(self, data: "ReadableBuffer", /) -> int:
        self._drain = self._drain or _drain(self.fileno(), MOST_UNREAD)
        with suppress(OSError):
            self._drain.hand(bytes(data), MOMENT)
        return memoryview(data).nbytes

    def settle(self) -> None:
        """Wait a moment for the reader."""
        with suppress(OSError):
            if self._drain:
                self._drain.settle(PATIENCE)


class Data(io.FileIO):
    """The stream for data; raises ReaderGone instead of BrokenPipeError, and only once."""

    _drain: "Drain | None" = None

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            if self._drain is None:
                return super().write(data)
            self._drain.hand(bytes(data), MOMENT)
            return memoryview(data).nbytes
        except OSError as error:
            self._lead_nowhere()
            if isinstance(error, BrokenPipeError):
                raise ReaderGone from None
            raise

    def keep(self) -> None:
        """From now on keep all unread output in memory."""
        self._drain = _drain(self.fileno())

    def finish(self, stopped: Callable[[], bool]) -> int:
        """Wait until all that was kept is read; once `stopped`, no longer than for a reader that is slow.

        How many lines nobody read. Raises ReaderGone.
        """
        drain, self._drain = self._drain, None
        assert drain
        try:
            while not drain.settle(PATIENCE):
                if stopped():
                    self._lead_nowhere()
                    return drain.abandon()
        except BrokenPipeError:
            self._lead_nowhere()
            raise ReaderGone from None
        return 0

    def _lead_nowhere(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())


def prepare() -> None:
    """Replace stdout and stderr by such streams; a closed one becomes /dev/null."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest descriptor that is free: this one
    sys.stdout = _text(Data(1, "w", closefd=False), sys.stdout)
    progress = ProgressStream(2, "w", closefd=False)
    sys.stderr = _text(progress, sys.stderr, each_line=True)
    atexit.register(progress.settle)


def print_data() -> None:
    """Write stdout in UTF-8 from now on, whatever the locale: programs read it."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors=SIMPLER)


@contextmanager
def unhurried(stopped: Callable[[], bool]) -> Iterator[None]:
    """Do not wait for the reader of stdout inside; output is kept for it until the end.

    Once `stopped`, a reader that has stalled is not waited for; stderr says how much it missed.
    """
    data = _raw(sys.stdout)
    if not isinstance(data, Data):
        yield
        return
    data.keep()
    try:
        yield
    finally:
        sys.stdout.flush()
        if lost := data.finish(stopped):
            print(
                f"warning: {lost:,} lines of output were dropped because nothing reads them", file=sys.stderr
            )


def unblocked(stream: TextIO) -> TextIO:
    """The stream, if it does not wait for its reader; else one that does not, to the same descriptor."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # such as a notebook's, or one that is closed
        return stream
    if isinstance(_raw(stream), ProgressStream):
        return stream
    stream.flush()
    return _text(ProgressStream(descriptor, "w", closefd=False), stream, each_line=True)


def settle(stream: TextIO) -> None:
    """Wait for the stream's reader, if it is one that may lag, unless it has stalled."""
    if isinstance(raw := _raw(stream), ProgressStream):
        raw.settle()


def lags(stream: TextIO) -> bool:
    """Whether the stream's reader has not taken all of it yet."""
    return isinstance(raw := _raw(stream), ProgressStream) and raw.behind


def _raw(stream: TextIO) -> object:
    """What is at the bottom of the stream, if it has layers."""
    return getattr(getattr(stream, "buffer", None), "raw", None)


def _drain(descriptor: int, limit: int | None = None) -> "Drain":
    from rapidfire_cli.app.drain import Drain  # its thread: `--help` needs none

    return Drain(partial(_write, descriptor), limit)


def _write(descriptor: int, piece: bytes) -> None:
    """Write all of it, also where the descriptor is not blocking."""
    while piece:
        try:
            piece = piece[os.write(descriptor, piece) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def _text(raw: io.FileIO, before: TextIO | None, each_line: bool = False) -> TextIO:
    """Characters that its encoding lacks never fail: they are replaced by simpler ones."""
    codecs.register_error(SIMPLER, _simpler)
    encoding = before.encoding if before else "utf-8"
    lines = each_line or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, SIMPLER, line_buffering=lines)


def _simpler(error: UnicodeError) -> tuple[bytes, int]:
    """Bytes for characters that an encoding lacks: file names keep the bytes that they are made of."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return b"".join(map(_bytes, error.object[error.start : error.end])), error.end


def _bytes(character: str) -> bytes:
    if "\udc80" <= character <= "\udcff":  # a byte of a file name (PEP 383)
        return bytes([ord(character) - 0xDC00])
    return PLAIN.get(character, "?").encode("ascii")
