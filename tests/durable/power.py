"""An honest disk that may lose power: which states it can wake up in, given what was done and synced.

What is synced stays. Of what is not, each change of a directory may be there or not, whatever came before or
after it, and a file's bytes may be all there, partly, or not at all.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TypeAlias

from rapidfire_cli.durable import failpoints

Step: TypeAlias = tuple[str, tuple[Path, ...]]
Change: TypeAlias = tuple[tuple[str, int | None], ...]
"""Entries of a directory, and the inodes that they lead to from now on: a rename has two, and is atomic."""
State: TypeAlias = "dict[str, bytes | State]"
ROOT = 0


class Recorder:
    """A hook that keeps every durable call, and the bytes of files; `said` adds marks of the test's own."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.bytes: defaultdict[Path, list[bytes]] = defaultdict(list)

    def __call__(self, operation: str, *paths: Path) -> None:
        if operation == "sync" and paths[0].is_file():
            self.bytes[paths[0]].append(paths[0].read_bytes())
        if operation == "discard":  # file by file
            self.steps += [("unlink", (file,)) for file in sorted(paths[0].iterdir())]
        self.steps.append((operation, paths))

    def said(self, mark: str, path: Path) -> None:
        """The test's own mark; what a file holds by then is promised."""
        self.steps.append((mark, (path, *([path.with_name(path.read_text())] if path.is_file() else []))))

    def __enter__(self) -> "Recorder":
        failpoints.hook = self
        return self

    def __exit__(self, *_ending: object) -> None:
        failpoints.hook = None


@dataclass
class Disk:
    """Inodes, the entries that are durable, and the changes that are not, in their order."""

    root: Path
    bytes: Mapping[Path, list[bytes]]  # of the files written at a path, one after the other
    now: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})
    durable: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})
    pending: list[tuple[int, Change]] = field(default_factory=list)
    files: dict[int, bytes] = field(default_factory=dict)
    unsynced: set[int] = field(default_factory=set)  # files
    written: Counter[Path] = field(default_factory=Counter)

    def do(self, operation: str, paths: tuple[Path, ...]) -> None:
        """The operation happens; what it changes is durable only once it is synced."""
        first = paths[0]
        match operation:
            case "make":
                inode = self._new(first)
                self.now[inode], self.durable[inode] = {}, {}
            case "open":
                inode = self._new(first)
                self.files[inode] = self.bytes[first][self.written[first]]
                self.written[first] += 1
                self.unsynced.add(inode)
            case "rename":
                change = ((first.name, None), (paths[1].name, self._inode(first)))
                self._change(first.parent, change)
            case "link":
                self._change(first.parent, ((first.name, self._inode(paths[1])),))
            case "unlink" | "discard":
                self._change(first.parent, ((first.name, None),))
            case "sync":
                self._sync(self._inode(first))

    def states(self) -> Iterator[State]:
        """Every state in which the disk may wake up, if the power fails now."""
        for kept in product((True, False), repeat=len(self.pending)):
            entries = {inode: dict(names) for inode, names in self.durable.items()}
            for (directory, change), there in zip(self.pending, kept, strict=True):
                if there:
                    _apply(entries[directory], change)
            torn = sorted(self.unsynced & set(_reachable(entries)))
            for shares in product((1.0, 0.5, 0.0), repeat=len(torn)):
                yield self._tree(entries, ROOT, dict(zip(torn, shares, strict=True)))

    def _tree(self, entries: dict[int, dict[str, int]], inode: int, torn: dict[int, float]) -> State:
        return {
            name: self._tree(entries, below, torn)
            if below in entries
            else self.files[below][: int(len(self.files[below]) * torn.get(below, 1.0))]
            for name, below in sorted(entries[inode].items())
        }

    def _new(self, path: Path) -> int:
        inode = len(self.files) + len(self.now)
        self._change(path.parent, ((path.name, inode),))
        return inode

    def _change(self, directory: Path, change: Change) -> None:
        inode = self._inode(directory)
        _apply(self.now[inode], change)
        self.pending.append((inode, change))

    def _sync(self, inode: int) -> None:
        self.unsynced.discard(inode)
        for directory, change in self.pending:
            if directory == inode:
                _apply(self.durable[directory], change)
        self.pending = [(place, change) for place, change in self.pending if place != inode]
        within = {ROOT, *_reachable(self.durable), *_reachable(self.now)}
        self.pending = [(place, change) for place, change in self.pending if place in within]

    def _inode(self, path: Path) -> int:
        inode = ROOT
        for part in path.relative_to(self.root).parts:
            inode = self.now[inode][part]
        return inode


def _apply(entries: dict[str, int], change: Change) -> None:
    for name, inode in change:
        if inode is None:
            entries.pop(name, None)
        else:
            entries[name] = inode


def _reachable(entries: dict[int, dict[str, int]], inode: int = ROOT) -> Iterator[int]:
    for below in entries[inode].values():
        yield below
        if below in entries:
            yield from _reachable(entries, below)


def lay(state: State, directory: Path) -> None:
    """Make the state real."""
    directory.mkdir()
    for name, content in state.items():
        if isinstance(content, bytes):
            (directory / name).write_bytes(content)
        else:
            lay(content, directory / name)
