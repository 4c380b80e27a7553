"""The calls that change the disk, each behind a failpoint; all other modules use these.

Directories are created and files are opened without following symbolic links out of the experiment.
"""

import errno
import io
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from rapidfire_cli.durable.failpoints import failpoint

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from _typeshed import ReadableBuffer

BUFFER = 1 << 20  # bytes written at once (assumed)
SYNCS = 4  # simultaneous syncs: a checkpoint's files and their directory (measured: as fast as one)
MODE = 0o666  # before the umask is applied
OWN = os.O_CLOEXEC | os.O_NOFOLLOW


class Output(io.FileIO):
    """A new file that is open for writing."""

    def __init__(self, path: Path) -> None:
        super().__init__(_opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w")
        self._path = path

    def write(self, data: "ReadableBuffer", /) -> int:
        failpoint("write", self._path)
        with _at(self._path):
            return super().write(data)


def create(path: Path) -> io.BufferedWriter:
    """Create a new file; `sync` makes its bytes durable. Raises OSError, also when the file is closed."""
    return io.BufferedWriter(Output(path), BUFFER)


def append(path: Path) -> int:
    """Open a log for appending; its bytes are not synced."""
    return _opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def add(path: Path, data: bytes) -> None:
    """Add bytes to the end of a file; `sync` makes them durable."""
    descriptor = append(path)
    try:
        failpoint("write", path)
        with _at(path):
            while data:
                data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)


def holdable(path: Path) -> int:
    """Open a lock file; create it if it is missing."""
    return _opened(path, os.O_RDWR | os.O_CREAT)


def make_directory(path: Path, below: Path | None = None, lasting: bool = True) -> list[Path]:
    """Create the directory and its parents; return those that were missing.

    The paths between it and `below` must be directories, not symbolic links. With `lasting`, the directories
    are durable on return; otherwise the code that publishes in them makes them durable. Raises OSError.
    """
    missing = [*takewhile(lambda place: not place.exists(), (path, *path.parents))]
    for place in _between(path, below):
        if place not in missing and not stat.S_ISDIR(place.lstat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "is not a directory inside the experiment", str(place))
    for place in reversed(missing):
        failpoint("make", place)
        place.mkdir(exist_ok=True)
        if lasting:
            sync(place.parent)
    return missing


def refuse_links(*paths: Path) -> None:
    """Check that none of these is a symbolic link, which could lead out of the experiment. Raises OSError."""
    for path in paths:
        if path.is_symlink():
            raise OSError(
                errno.ELOOP, "is a symbolic link, which is not allowed inside an experiment", str(path)
            )


def make_private(path: Path) -> None:
    """Create a directory that only this user can read, if it is missing."""
    failpoint("make", path)
    path.mkdir(mode=0o700, exist_ok=True)


def make_temporary(path: Path) -> None:
    """Create a temporary directory that will be renamed later."""
    failpoint("make", path)
    path.mkdir()


def permit_as(like: Path, *paths: Path) -> None:
    """Give files the permissions of another file, since libraries may create them private."""
    mode = stat.S_IMODE(like.stat().st_mode)
    for path in paths:
        if stat.S_IMODE(path.stat().st_mode) != mode:
            path.chmod(mode)


def sync(*paths: Path) -> None:
    """Sync files and directories to the disk, in parallel."""
    for path in paths:
        failpoint("sync", path)
    with ExitStack() as stack:
        syncs = []
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # an experiment's directory may be a link
            stack.callback(os.close, descriptor)
            syncs.append(_waiting().submit(os.fsync, descriptor))
            stack.callback(syncs[-1].exception)  # waits, so that no descriptor is closed while being synced
        for path, each in zip(paths, syncs, strict=True):
            with _at(path):
                each.result()


def rename(source: Path, target: Path) -> None:
    """Rename a file or directory."""
    failpoint("rename", source, target)
    source.rename(target)


def link(source: Path, target: Path) -> None:
    """Give a file a second name with a hard link."""
    failpoint("link", target, source)
    target.hardlink_to(source)


def unlink(path: Path) -> None:
    """Delete a file if it exists."""
    failpoint("unlink", path)
    path.unlink(missing_ok=True)


def empty(path: Path) -> None:
    """Truncate a file that others may have open."""
    failpoint("write", path)
    os.truncate(path, 0)


def discard(directory: Path) -> None:
    """Delete a directory and its contents, file by file, in any order."""
    failpoint("discard", directory)
    shutil.rmtree(directory)


def withdraw(made: list[Path]) -> None:
    """Delete directories that `make_directory` created, if they are still empty."""
    for place in made:
        failpoint("discard", place)
        with suppress(OSError):  # another process may have put something there
            place.rmdir()


@cache
def _waiting() -> "ThreadPoolExecutor":
    """Return the threads that wait for syncs, since the disk handles simultaneous syncs together."""
    from concurrent.futures import ThreadPoolExecutor

    os.register_at_fork(after_in_child=_waiting.cache_clear)  # a forked child has no threads
    return ThreadPoolExecutor(SYNCS, "sync")


def _opened(path: Path, flags: int) -> int:
    failpoint("open", path)
    return os.open(path, flags | OWN, MODE)


@contextmanager
def _at(path: Path) -> Iterator[None]:
    """Add the path to OSErrors of calls on a descriptor in the block."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _between(path: Path, below: Path | None) -> list[Path]:
    """Return the directory and its parents up to `below`, which itself may be a link and is left out."""
    places = [path, *path.parents]
    return places[: places.index(below)] if below in places else []
