"""Failpoints: before every durable call, where a test can trace it, make it fail, or kill the process.

It is named by its operation and the file's name: `sync MANIFEST.json`. In production nothing is armed,
and a point costs one comparison.
"""

import errno
import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol, TypeAlias

Operation: TypeAlias = str
"""What is done: make, open, write, sync, rename, link, unlink, discard, lock, connect, commit, close."""

VARIABLE = "RAPIDFIRE_FAULT"
KILL, TRACE = "kill", "trace"


class Hook(Protocol):
    """Called before every durable call; may raise OSError instead."""

    def __call__(self, operation: Operation, *paths: Path) -> None: ...


hook: Hook | None = None


def failpoint(operation: Operation, *paths: Path) -> None:
    """Announce an operation that is about to be done. Raises OSError when an armed fault says so."""
    if hook is not None:
        hook(operation, *paths)


def arm(environ: Mapping[str, str]) -> None:
    """Do as RAPIDFIRE_FAULT says: `OPERATION NAME OCCURRENCE kill|ENOSPC|EIO|… FILE`, or `trace FILE`.

    NAME is a glob. The fault strikes once among all processes that inherit the variable: the one that meets
    the occurrence, counted by each for itself, and finds FILE, deletes it and is struck. A trace appends each
    point's name to FILE, numbers as `*`.
    """
    global hook  # noqa: PLW0603 - that is what arming means
    match environ.get(VARIABLE, "").split(maxsplit=4):
        case ["trace", file]:
            hook = Trace(Path(file))
        case [operation, name, occurrence, what, file]:
            hook = Fault(operation, name, int(occurrence), what, Path(file))


@dataclass(slots=True)
class Fault:
    """Makes one occurrence of a failpoint fail."""

    operation: str
    name: str
    occurrence: int
    what: str
    armed: Path
    met: int = 0

    def __call__(self, operation: Operation, *paths: Path) -> None:
        if operation != self.operation or not fnmatchcase(_name(paths[0]), self.name):
            return
        self.met += 1
        if self.met == self.occurrence and self._disarmed():
            self._strike(paths[0])

    def _disarmed(self) -> bool:
        """Whether this process was the one to disarm it."""
        try:
            self.armed.unlink()
        except FileNotFoundError:
            return False
        return True

    def _strike(self, path: Path) -> None:
        if self.what == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        number = getattr(errno, self.what)
        raise OSError(number, os.strerror(number), str(path))


@dataclass(frozen=True, slots=True)
class Trace:
    """Writes every failpoint to a file."""

    file: Path

    def __call__(self, operation: Operation, *paths: Path) -> None:
        with self.file.open("a") as trace:
            trace.write(f"{operation} {re.sub(r'[0-9]+', '*', _name(paths[0]))}\n")


def _name(path: Path) -> str:
    return path.name or str(path)
