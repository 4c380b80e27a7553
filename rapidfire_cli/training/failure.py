"""Failures of runs, each with a one-line cause."""

import errno
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rapidfire_cli.training import user_code
from rapidfire_cli.training.log import say

DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})  # not the fault of a run
RUST = re.compile(r"\(os error (\d+)\)")  # how libraries written in Rust, like safetensors, report errno


class Failure(Exception):  # noqa: N818 - what became of the run
    """The run failed; `kind` is one of error, nan, oom, checkpoint, disk; `cause` is one line.

    A failure of kind `disk` pauses the whole experiment. `knob` is the path of the knob that caused it, if
    any.
    """

    def __init__(self, kind: str, cause: str, traceback: str = "", knob: tuple[str, ...] = ()) -> None:
        super().__init__(cause)
        self.kind = kind
        self.cause = cause
        self.traceback = traceback
        self.knob = knob


def blamed(error: BaseException) -> Failure:
    """Turn an error of user code or torch, including SystemExit, into a Failure, and print its traceback."""
    if not isinstance(error, Failure):
        say("".join(traceback.format_exception(error)).rstrip())
    return failed(error)


def failed(error: BaseException) -> Failure:
    """Turn an error of user code or torch into a Failure, without printing the traceback."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, OSError) and error.errno in DISK:
        return refused(error)
    kind = "oom" if _starved(error) else "error"
    return Failure(kind, located(error), traced(error))


def refused(error: OSError) -> Failure:
    """Turn a disk error into a Failure that names its path."""
    place = f"{error.filename}: " if error.filename else ""
    return Failure("disk", f"{place}{error.strerror or error}")


@contextmanager
def guard_user_code() -> Iterator[None]:
    """Turn any error raised in the block into a Failure."""
    try:
        yield
    except (Failure, GeneratorExit):
        raise
    except BaseException as error:
        raise blamed(error) from error


@contextmanager
def guard_knob(*path: str) -> Iterator[None]:
    """Turn any error raised in the block into a Failure that blames the knob at this path."""
    try:
        yield
    except Exception as error:
        raise at_knob(error, path) from error


def at_knob(error: Exception, path: tuple[str, ...]) -> Failure:
    """Turn an error into a Failure that blames the knob at this path, unless it blames one already."""
    failure = failed(error)
    return Failure(failure.kind, failure.cause, failure.traceback, failure.knob or path)


@contextmanager
def guard_own_io() -> Iterator[None]:
    """Turn disk errors that concern rapidfire's own files into a Failure."""
    try:
        yield
    except OSError as error:
        raise refused(error) from error


def disk_error(error: BaseException | None) -> OSError | None:
    """Return the operating system's error behind a library's error, if there is one."""
    while error is not None:
        if isinstance(error, OSError):
            return error
        if told := RUST.search(str(error)):
            return OSError(int(told[1]), os.strerror(int(told[1])))
        error = error.__cause__ or error.__context__
    return None


def _starved(error: BaseException) -> bool:
    """Whether the error means out of memory; on the CPU torch has no error class for that."""
    said = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return said or isinstance(error, torch.OutOfMemoryError | MemoryError)


def located(error: BaseException) -> str:
    """Describe the error in one line, with the place in user code: `KeyError: 'x' (x.py:41, in row_prep)`."""
    place = user_code.place(error)
    return f"{one_line(error)} ({place})" if place else one_line(error)


def traced(error: BaseException) -> str:
    """Return the error's traceback, as Python prints it."""
    return "".join(traceback.format_exception(error))


def one_line(error: BaseException) -> str:
    """Return the error's type and the first line of its message."""
    said = f"{error.msg if isinstance(error, SyntaxError) else error}".strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
