"""A run's log: all output printed while the run trains, by Python or by native code."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rapidfire_cli.durable import disk

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STANDARD = (1, 2)  # the descriptors of stdout and stderr


class Lasting(io.IOBase):
    """A file object that ignores `close`, since every run prints to it."""

    def close(self) -> None:
        try:  # noqa: SIM105 - at the end of the interpreter, `suppress` may be gone before this
            self.flush()
        except ValueError:
            pass


class Raw(Lasting, io.FileIO):
    """Raw output that drops what a full disk rejects, so that the printing code continues."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


class Buffer(Lasting, io.BufferedWriter):
    """The byte buffer of a stream."""


class Stream(Lasting, io.TextIOWrapper):
    """A stream to the log of the run that trains. User code may keep it and use it in every turn."""

    def detach(self) -> Any:
        """Return the byte buffer, without detaching it."""
        self.flush()
        return self.buffer


@cache
def stream() -> Stream:
    """Return the one line-buffered output stream of this process."""
    buffer = Buffer(Raw(STANDARD[0], "a", closefd=False))
    return Stream(buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def keep_standard() -> None:
    """Make this stream the stdout and stderr of all code of this process."""
    sys.stdout = sys.__stdout__ = sys.stderr = sys.__stderr__ = stream()  # type: ignore[misc]


def say(text: str) -> None:
    """Print to stderr, or to the log itself if user code replaced stderr with an unusable object."""
    try:
        print(text, file=sys.stderr)
    except Exception:
        print(text, file=stream())


@contextmanager
def printing() -> Iterator[None]:
    """Send all output printed in the block to the one stream."""
    with redirect_stdout(stream()), redirect_stderr(stream()):
        yield


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Append to `path`, line by line, what the block writes to stdout and stderr. Raises OSError."""
    log = disk.append(path)
    kept = [os.dup(descriptor) for descriptor in STANDARD]
    _flush()
    for descriptor in STANDARD:
        os.dup2(log, descriptor)
    os.close(log)
    try:
        with printing():
            yield
    finally:
        stream().flush()
        for descriptor, former in zip(STANDARD, kept, strict=True):
            os.dup2(former, descriptor)
            os.close(former)


def _flush() -> None:
    """Flush stdout and stderr, so that earlier output goes to its own destination."""
    for each in (sys.stdout, sys.stderr, stream()):
        each.flush()
