"""Copies of what is durable in a run, between two machines that do not share its directory.

Theory of operation
-------------------
A machine has a `Store`: a directory laid out like the experiment's. The controller's machine has the
experiment itself; a node has a copy of what its workers need. A tree is what travels together: a run's
directory, or the files that the MLSpec's `prepare` made. It consists of units, each of which is a publication
or a single file, and a unit of files, which are compared by their checksums. So a file that the other
machine has under some name, such as the best weights of an earlier checkpoint, does not travel again.

The sender pins the tree, which gives its files second names, and lists it. The receiver says which checksums
it lacks, takes their bytes, and installs the units: each one completely, durably and under its final name, in
an order in which nothing refers to something that comes later. Logs are not part of a tree.

Invariants:

- A unit is installed from bytes that have the checksums of the list, or not at all.
- Checkpoints are deleted by the receiver only once a newer one is installed, or if the list is exact.
"""

import errno
import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rapidfire_cli.durable import disk, publication
from rapidfire_cli.engine import epoch_log
from rapidfire_cli.engine.checkpoints import BEST, FINAL, FORMER, KEPT, NAME, ORIGIN, SUFFIXES

PREPARED = "prepared"
"""The tree of prepared files; the others are called `runs/<number>-<id>`."""

CHUNK = 4 * 2**20  # bytes that travel at once (assumed)
PINNED, RECEIVED = "pinned", "received"


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a unit."""

    path: str  # in the unit; empty if that is the file
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Unit:
    """Something that is installed as a whole."""

    name: str  # in the tree
    parts: tuple[Part, ...]


class Store:
    """The files of an experiment on one machine. Not for use by several threads with the same tree."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._known: dict[tuple[int, ...], str] = {}  # checksums by a file's identity

    def base(self, tree: str) -> Path:
        """The directory in which the tree's units are."""
        return self.home if tree == PREPARED else self.home / tree

    def marks(self, tree: str) -> frozenset[tuple[str, int]]:
        """What differs after any unit was added, replaced or deleted."""
        found = set()
        for name in _names(base := self.base(tree), tree):
            with suppress(OSError):
                found.add((name, (base / name).stat().st_ino))
        return frozenset(found)

    def pin(self, tree: str) -> tuple[Unit, ...]:
        """Give the tree's files second names, which stay until the next call, and list them.

        Raises OSError.
        """
        base = self.base(tree)
        pinned = publication.aside(base / PINNED)
        _clear(pinned)
        disk.make_directory(pinned, lasting=False)
        for name in _names(base, tree):
            try:
                _link(base / name, pinned / name)
            except FileNotFoundError:  # its worker has just deleted it, as it is outdated
                _clear(pinned / name)
        return self.units(tree, pinned)

    def unpin(self, tree: str) -> None:
        """Forget the second names."""
        _clear(publication.aside(self.base(tree) / PINNED))

    def units(self, tree: str, place: Path | None = None) -> tuple[Unit, ...]:
        """What there is of the tree, or of what was pinned of it. Raises OSError."""
        base = place or self.base(tree)
        return tuple(Unit(name, tuple(self._parts(base / name))) for name in _names(base, tree))

    def read(self, tree: str, unit: str, part: str, offset: int) -> bytes:
        """The next bytes of a pinned file. Raises OSError."""
        with _joined(publication.aside(self.base(tree) / PINNED) / unit, part).open("rb") as file:
            file.seek(offset)
            return file.read(CHUNK)

    def lacks(self, tree: str, units: Sequence[Unit]) -> set[str]:
        """The checksums that no file of the tree has; what was received of another list is deleted."""
        _clear(publication.aside(self.base(tree) / RECEIVED))
        here = {part.sha256 for unit in self.units(tree) for part in unit.parts}
        return {part.sha256 for unit in units for part in unit.parts} - here

    def receive(self, tree: str, sha256: str, data: bytes) -> None:
        """Take the next bytes of the file with this checksum. Raises OSError."""
        received = publication.aside(self.base(tree) / RECEIVED)
        disk.make_directory(received, lasting=False)
        disk.add(received / sha256, data)

    def install(self, tree: str, units: Sequence[Unit], exact: bool) -> None:
        """Make the tree as listed; only if the list is `exact`, it says what is to be deleted of it.

        Raises OSError, also if what was received is not what was listed.
        """
        base = self.base(tree)
        disk.make_directory(base)
        received = publication.aside(base / RECEIVED)
        here = {unit.name: unit for unit in self.units(tree)}
        sources = {
            part.sha256: _joined(base / unit.name, part.path) for unit in here.values() for part in unit.parts
        }
        arrived = [*received.iterdir()] if received.is_dir() else []
        for path in arrived:
            if self._sum(path) != path.name:
                raise OSError(errno.EIO, "was damaged on its way", str(path))
        sources |= {path.name: path for path in arrived}
        for unit in sorted(units, key=_order):
            if here.get(unit.name) != unit:
                _install(base / unit.name, unit, sources)
        outdated = {name for name in here.keys() - {unit.name for unit in units} if _may_go(name)}
        newest = max((unit.name for unit in units if NAME.fullmatch(unit.name)), default="")
        for name in outdated:
            if exact or (newest and not name.startswith(KEPT) and (name == ORIGIN or name < newest)):
                publication.remove(base / name)
        _clear(received)

    def sweep(self, tree: str) -> None:
        """Delete what a process that was killed has left of the tree."""
        publication.sweep(self.base(tree), alone=tree != PREPARED)

    def _parts(self, path: Path) -> Iterator[Part]:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and not file.is_symlink():
                name = file.relative_to(path).as_posix() if file != path else ""
                yield Part(name, file.stat().st_size, self._sum(file))

    def _sum(self, file: Path) -> str:
        """The checksum; a file that has several names is read once."""
        seen = file.stat()
        identity = (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns)
        if identity not in self._known:
            with file.open("rb") as content:
                self._known[identity] = hashlib.file_digest(content, "sha256").hexdigest()
        return self._known[identity]


def _names(base: Path, tree: str) -> list[str]:
    """The units that are there, in the order in which they are installed."""
    if tree == PREPARED:
        return [PREPARED] if (base / PREPARED).is_dir() else []
    found = []
    for entry in _entries(base):
        if NAME.fullmatch(entry) or entry == ORIGIN or entry in _SINGLE:
            found.append(entry)
        elif entry in (KEPT, FORMER):
            found += [f"{entry}/{name}" for name in _entries(base / entry) if NAME.fullmatch(name)]
    return sorted(found, key=lambda name: _order(Unit(name, ())))


_SINGLE = {epoch_log.NAME, *(f"{stem}{suffix}" for stem in (FINAL, BEST) for suffix in SUFFIXES)}


def _entries(place: Path) -> list[str]:
    try:
        return os.listdir(place)  # noqa: PTH208 - for each turn
    except (FileNotFoundError, NotADirectoryError):
        return []


def _order(unit: Unit) -> tuple[int, str]:
    """Epochs that a checkpoint refers to come before it; weights of a checkpoint after it."""
    if unit.name == epoch_log.NAME:
        return 0, unit.name
    return (2 if unit.name in _SINGLE else 1), unit.name


def _may_go(name: str) -> bool:
    """Whether a worker deletes a unit of this name once it is outdated."""
    return name not in _SINGLE and name != PREPARED


def _joined(unit: Path, part: str) -> Path:
    return unit / part if part else unit


def _link(source: Path, target: Path) -> None:
    """Give a unit's files second names."""
    if not source.is_dir():
        publication.share(source, target)
        return
    disk.make_directory(target, lasting=False)
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir():
            disk.make_directory(place, lasting=False)
        else:
            publication.share(path, place)


def _install(target: Path, unit: Unit, sources: dict[str, Path]) -> None:
    """Publish the unit from files with its checksums."""
    disk.make_directory(target.parent)
    single = [part.path for part in unit.parts] == [""]
    with publication.draft(target.with_name(f"new-{target.name}") if single else target) as filled:
        paths = [filled / (part.path or target.name) for part in unit.parts]
        for part, path in zip(unit.parts, paths, strict=True):
            disk.make_directory(path.parent, lasting=False)
            publication.share(sources[part.sha256], path)
        disk.sync(*paths, *_directories(filled))
        if single:
            publication.link({target: paths[0]})
            return
        if target.exists():
            publication.remove(target)
        disk.rename(filled, target)
        disk.sync(target.parent, target.parent.parent)


def _directories(place: Path) -> Collection[Path]:
    return [place, *(path for path in place.rglob("*") if path.is_dir())]


def _clear(directory: Path) -> None:
    if directory.is_dir():
        disk.discard(directory)
