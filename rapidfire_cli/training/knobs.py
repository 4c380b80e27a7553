"""The leaf config as user code sees it: read-only, and aware of which knobs were read."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from rapidfire_cli.terms import LeafConfig, canonical

Path: TypeAlias = tuple[str, ...]
Reads: TypeAlias = dict[tuple[Path, bool], str]
"""What was seen, by (knob path, whether the whole subtree below it was looked at)."""

ABSENT = "absent"  # no JSON, so no value


class MissingKnob(KeyError):  # noqa: N818 - what users read
    """A knob was asked for that the leaf config does not have."""

    def __init__(self, path: Path, siblings: tuple[str, ...]) -> None:
        super().__init__(f"the config has no {'.'.join(map(str, path))}")
        self.path = path
        self.siblings = siblings

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would quote it


class Knobs(Mapping[str, Any]):
    """A read-only view of a leaf config that notes each read in `reads`.

    A lookup notes that knob alone, absent ones included; iterating, counting and comparing note everything
    below. Lists come out as fresh copies, and `copy.deepcopy` gives plain dicts.
    """

    __slots__ = ("_path", "_reads", "_tree")

    def __init__(self, tree: LeafConfig, reads: Reads, path: Path = ()) -> None:
        self._tree = tree
        self._reads = reads
        self._path = path

    def __getitem__(self, key: str) -> Any:
        path = (*self._path, key)
        self._reads[path, False] = glimpse(self._tree, (key,), deep=False)
        if key not in self._tree:
            raise MissingKnob(path, tuple(self._tree))
        value = self._tree[key]
        return Knobs(value, self._reads, path) if isinstance(value, dict) else copy.deepcopy(value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._whole())

    def __eq__(self, other: object) -> bool:
        return self._whole() == (other._whole() if isinstance(other, Knobs) else other)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return copy.deepcopy(dict(self._whole()))

    def __repr__(self) -> str:
        return repr(self._whole())

    __hash__ = None  # type: ignore[assignment]  # equal to dicts, which have none

    def _whole(self) -> LeafConfig:
        self._reads[self._path, True] = glimpse(self._tree, (), deep=True)
        return self._tree


def seen(reads: Reads, path: Path) -> bool:
    """Whether the value of the knob at `path` was seen: by itself, or within a mapping seen as a whole."""
    wholes = (path[:length] for length in range(len(path) + 1))
    return (path, False) in reads or any((whole, True) in reads for whole in wholes)


def sought(reads: Reads) -> Iterator[Path]:
    """The knobs that were looked for and are not there."""
    return (path for (path, _), value in reads.items() if value == ABSENT)


def ends(tree: LeafConfig, path: Path = ()) -> Iterator[Path]:
    """The paths of the knobs in a tree that hold a value, not further knobs."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from ends(value, (*path, key))
        else:
            yield (*path, key)


def agrees(reads: Reads, tree: LeafConfig) -> bool:
    """Whether code that made these reads would have seen the same in `tree`."""
    return all(glimpse(tree, path, deep) == seen for (path, deep), seen in reads.items())


def glimpse(tree: LeafConfig, path: Path, deep: bool) -> str:
    """What a read at `path` shows: nothing, that a mapping is there, or canonical JSON."""
    node: Any = tree
    for key in path:
        if not isinstance(node, Mapping) or key not in node:
            return ABSENT
        node = node[key]
    return "mapping" if isinstance(node, Mapping) and not deep else canonical(node)
