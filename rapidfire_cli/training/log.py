"""A run's log: whatever is printed while the run trains, by Python or below it."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rapidfire_cli.durable import disk

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STANDARD = (1, 2)  # the descriptors of stdout and stderr


class Lasting(io.IOBase):
    """Stays open even if user code closes it or a stream built on it: every run prints to it."""

    def close(self) -> None:
        with suppress(ValueError):  # when the interpreter ends, in any order
            self.flush()


class Raw(Lasting, io.FileIO):
    """Output that a full disk does not take is lost; the printing code goes on."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


class Buffer(Lasting, io.BufferedWriter):
    """The bytes of a stream."""


class Stream(Lasting, io.TextIOWrapper):
    """Leads to the log of the run that has its turn; user code that kept it can use it in every turn."""

    def detach(self) -> Any:
        """The bytes below, which stay here as well."""
        self.flush()
        return self.buffer


@cache
def stream() -> Stream:
    """The one stream of this process, written through line by line."""
    buffer = Buffer(Raw(STANDARD[0], "a", closefd=False))
    return Stream(buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def keep_standard() -> None:
    """Make it what all code of this process prints to."""
    sys.stdout = sys.__stdout__ = sys.stderr = sys.__stderr__ = stream()  # type: ignore[misc]


def say(text: str) -> None:
    """Print to stderr, or to the log itself where user code has put something there that cannot be used."""
    try:
        print(text, file=sys.stderr)
    except Exception:
        print(text, file=stream())


@contextmanager
def printing() -> Iterator[None]:
    """All that is printed inside goes to the one stream."""
    with redirect_stdout(stream()), redirect_stderr(stream()):
        yield


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Append to `path` what is written to stdout and stderr, line by line. Raises OSError."""
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
    """What was written before belongs where it was written to."""
    for each in (sys.stdout, sys.stderr, stream()):
        each.flush()
