"""Failpoints: places before every durable call where a test can trace it, make it fail, or kill the process.

A failpoint is named by its operation and the file's name: `sync MANIFEST.json`. In production nothing is
armed, and a failpoint costs one comparison.
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
"""One of make, open, write, sync, rename, link, unlink, discard, lock, connect, commit, close."""

VARIABLE = "RAPIDFIRE_FAULT"
KILL, TRACE = "kill", "trace"


class Hook(Protocol):
    """A callable that runs before every durable call and may raise OSError."""

    def __call__(self, operation: Operation, *paths: Path) -> None: ...


hook: Hook | None = None


def failpoint(operation: Operation, *paths: Path) -> None:
    """Call the armed hook before an operation. Raises OSError if an armed fault requires it."""
    if hook is not None:
        hook(operation, *paths)


def arm(environ: Mapping[str, str]) -> None:
    """Arm the hook in RAPIDFIRE_FAULT: `OPERATION NAME OCCURRENCE kill|ENOSPC|EIO|… FILE`, or `trace FILE`.

    NAME is a glob. The fault strikes once among all processes that inherit the variable. Each process counts
    occurrences for itself; the first one that reaches OCCURRENCE and can delete FILE is struck. A trace
    appends the name of each failpoint to FILE, with numbers replaced by `*`.
    """
    global hook  # noqa: PLW0603 - arming sets the hook
    match environ.get(VARIABLE, "").split(maxsplit=4):
        case ["trace", file]:
            hook = Trace(Path(file))
        case [operation, name, occurrence, what, file]:
            hook = Fault(operation, name, int(occurrence), what, Path(file))


@dataclass(slots=True)
class Fault:
    """A hook that makes one occurrence of a failpoint fail."""

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
        """Disarm the fault by deleting its file; return whether this process did so."""
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
    """A hook that appends every failpoint to a file."""

    file: Path

    def __call__(self, operation: Operation, *paths: Path) -> None:
        with self.file.open("a") as trace:
            trace.write(f"{operation} {re.sub(r'[0-9]+', '*', _name(paths[0]))}\n")


def _name(path: Path) -> str:
    return path.name or str(path)
