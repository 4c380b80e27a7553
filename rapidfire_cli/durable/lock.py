"""The experiment's lock: a file lock of the kernel.

Only the holder may delete the file. A process that locked a file no longer at its path tries again."""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rapidfire_cli.durable import disk
from rapidfire_cli.durable.failpoints import failpoint

FLOCK = "hhqqi4x"  # struct flock of 64-bit Linux: type, whence, start, length, pid (fcntl(2))
WHOLE_FILE = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


class Held(Exception):  # noqa: N818 - a state, not a mistake
    """Another process holds the lock; the argument is what that process wrote about itself."""


@contextmanager
def lock(path: Path, holder: str) -> Iterator[None]:
    """Hold the lock; the kernel releases it when the process ends.

    Raises Held at once if another process holds the lock. Raises OSError, and leaves no file, if the file
    cannot be locked.
    """
    descriptor = _locked(path)
    try:
        failpoint("write", path)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _locked(path: Path) -> int:
    """Open and lock the file at the path; return its descriptor."""
    while True:
        known = path.exists()
        descriptor = disk.holdable(path)
        try:
            _take(path, descriptor)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError) and not known:  # this file system cannot lock it
                disk.unlink(path)
            raise
        if _is_at(path, descriptor):
            return descriptor
        os.close(descriptor)  # the holder deleted the file after it was opened here


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def is_held(path: Path) -> bool:
    """Whether a process holds the lock; this does not take it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, WHOLE_FILE)
    finally:
        os.close(descriptor)
    kind: int = struct.unpack(FLOCK, answer)[0]
    return kind != fcntl.F_UNLCK


def holder_of(path: Path) -> str:
    """Return what the lock's holder wrote about itself; empty if there is no holder."""
    try:
        return path.read_text("utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""


def _take(path: Path, descriptor: int) -> None:
    try:
        failpoint("lock", path)
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, WHOLE_FILE)
    except BlockingIOError:
        raise Held(_holder(descriptor)) from None
    except OSError as error:
        reason = (
            f"this file system does not support locks ({error.strerror}); use --dir to choose another one"
        )
        raise OSError(error.errno, reason, str(path)) from None


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 4096, 0).decode(errors="replace").strip()
