"""The standard streams as long work needs them: nobody must read progress, and data tell when nobody does."""

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class ReaderGone(Exception):  # noqa: N818 - what happened
    """Whoever read our output has gone, as `head` does when it has enough."""


class Progress(io.FileIO):
    """Where progress and problems go; once nobody can read them they are lost, and the work goes on."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


class Data(io.FileIO):
    """Where data go; raises ReaderGone in place of BrokenPipeError, and fails once, not again at the end."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if isinstance(error, BrokenPipeError):
                raise ReaderGone from None
            raise


def prepare() -> None:
    """Make stdout and stderr such streams; one closed before leads nowhere, not into a file of ours."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest descriptor that is free: this one
    sys.stdout = _text(Data(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(Progress(2, "w", closefd=False), sys.stderr, each_line=True)


def _text(raw: io.FileIO, before: TextIO | None, each_line: bool = False) -> TextIO:
    encoding, errors = (before.encoding, before.errors) if before else ("utf-8", "replace")
    lines = each_line or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=lines)
