"""The working directory as an archive, for nodes that do not share files with the controller's machine.

It holds what git would commit, or without git everything but hidden files, virtual environments and the like.
Experiments stay behind. What workers imported is compared by its hashes, as on any node.
"""

import io
import subprocess
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

MOST = 100 * 2**20  # bytes of files (assumed: code and configs; data belong onto the nodes)
SKIPPED = frozenset({"__pycache__", "node_modules"})
MARKS = ("pyvenv.cfg", "journal.db")  # of a virtual environment, and of an experiment


class TooLarge(Exception):  # noqa: N818 - what the directory is
    """The directory has more than MOST bytes; the argument says how many there are up to there."""


def packed(directory: Path) -> bytes:
    """The directory's files, compressed. Raises TooLarge and OSError."""
    archive, size = io.BytesIO(), 0
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1, dereference=True) as tar:
        for name in _names(directory):
            path = directory / name
            if not path.is_file():  # deleted, or a link to a directory
                continue
            size += path.stat().st_size
            if size > MOST:
                raise TooLarge(size)
            tar.add(path, name, recursive=False)
    return archive.getvalue()


def unpack(archive: bytes, directory: Path, beside: Path) -> None:
    """Write the archive's files into a new directory, with links to whatever else is in `beside`.

    So the code is that of the archive, and large data are where the node has them. Raises OSError.
    """
    directory.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(directory, filter="data")
    for path in beside.iterdir() if beside.is_dir() else ():
        if not (directory / path.name).exists() and path.name not in SKIPPED:
            (directory / path.name).symlink_to(path)


def _names(directory: Path) -> Iterator[str]:
    @cache
    def left_out(place: PurePosixPath) -> bool:
        return place.name in SKIPPED or any((directory / place / mark).exists() for mark in MARKS)

    for name in _committable(directory) or _walked(directory):
        if not any(map(left_out, [*PurePosixPath(name).parents][:-1])):
            yield name


def _committable(directory: Path) -> list[str]:
    """What git tracks or would track; empty where it is of no help."""
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return sorted({name for name in done.stdout.decode("utf-8", "surrogateescape").split("\0") if name})


def _walked(directory: Path) -> Iterator[str]:
    for path in sorted(directory.iterdir()):
        if path.name.startswith(".") or path.name in SKIPPED or any((path / mark).exists() for mark in MARKS):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from (f"{path.name}/{below}" for below in _walked(path))
        else:
            yield path.name
