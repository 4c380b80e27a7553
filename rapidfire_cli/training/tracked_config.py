"""The leaf config as user code sees it: a read-only dict that records which knobs were read.

TrackedConfig is a `dict`, because libraries check `isinstance(…, dict)`. C code can read a dict's memory
without calling its methods. Such reads would not be recorded, and runs would share rows that they must not
share. So the memory of a TrackedConfig holds no knobs: under the hash of each knob is an `Unread`, which
raises when it is compared. Python's own C code (json, `**`, `dict(…)`, `|`, copy, pickle) calls the methods
of a mapping that is not a plain dict, and they record the read. Code that bypasses them fails with a message
that says what to do.
"""

import copy
import sys
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from types import FrameType
from typing import Any, TypeAlias, cast

import yaml

from rapidfire_cli.terms import LeafConfig, canonical
from rapidfire_cli.training.user_code import is_users

Path: TypeAlias = tuple[str, ...]
Reads: TypeAlias = dict[tuple[Path, bool], str]
"""The values that were read, by (knob path, whether the whole subtree was read)."""

ABSENT = "absent"  # not valid JSON, so it differs from every value
PLAIN = "`.copy()` makes a plain dict of it"


class MissingKnob(KeyError):  # noqa: N818 - what users read
    """User code read a knob that the leaf config does not have."""

    def __init__(self, path: Path, siblings: tuple[str, ...]) -> None:
        super().__init__(f"the config has no {'.'.join(map(str, path))}")
        self.path = path
        self.siblings = siblings

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would quote it


class Unread:
    """A placeholder in the memory of a TrackedConfig, to detect C code that bypasses its methods."""

    __slots__ = ("_hash", "_key")

    def __init__(self, key: str) -> None:
        self._key = key
        self._hash = hash(key)

    def __hash__(self) -> int:
        return self._hash  # so that a lookup of the knob meets this key

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Unread):
            return self is other
        raise TypeError(f"`{self._key}` cannot be read from the config in this way: {PLAIN}")

    def __repr__(self) -> str:
        return f"<{self._key} of a config: {PLAIN}>"


class Written(dict[str, Any]):
    """A TrackedConfig that a library has modified: from then on a plain dict that belongs to the library."""

    __slots__ = ("_path", "_reads", "_tree")

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)


class TrackedConfig(dict[str, Any]):
    """A read-only view of a leaf config that records each read in `reads`.

    A lookup records only that knob, also if it is absent; iterating, counting and comparing record everything
    below, and so does a lookup that finds an empty mapping. Lists are returned as fresh copies. Copies of the
    view, including pickled ones, are plain dicts.

    User code cannot write into it. A library can write into the view that it received, as transformers does
    to fill in defaults: each lookup returns a new view, and the one that is written into becomes a plain
    dict.
    """

    __slots__ = ("_path", "_reads", "_tree")
    _path: Path
    _reads: Reads
    _tree: LeafConfig

    def __new__(cls, tree: Any = (), reads: Reads | None = None, path: Path = (), /, **more: Any) -> Any:
        """Create a view, or a plain dict without `reads`: libraries copy mappings with `type(mapping)(…)`."""
        if reads is None:
            return dict(tree, **more)
        self = dict.__new__(cls)
        dict.update(self, _unread(tree))
        self._tree, self._reads, self._path = tree, reads, path
        if not tree:
            self._whole()  # json's C encoder looks at the size of the memory, and asks no further
        return self

    def __init__(self, *_: Any) -> None:
        """Do nothing: `dict.__init__` would fill the memory."""

    def __getitem__(self, key: str) -> Any:
        if key in self:
            return self._value(key)
        raise MissingKnob((*self._path, key), tuple(self._tree))

    def get(self, key: str, default: Any = None) -> Any:
        return self._value(key) if key in self else default

    def __contains__(self, key: object) -> bool:
        name = cast("str", key)
        if (read := ((*self._path, name), False)) not in self._reads:  # the tree never changes
            self._reads[read] = glimpse(self._tree, (name,), deep=False)
        return key in self._tree

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __reversed__(self) -> Iterator[str]:
        return reversed(tuple(self._whole()))

    def __len__(self) -> int:
        return len(self._whole())

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        return KeysView(self)

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        return ValuesView(self)

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        return ItemsView(self)

    def __eq__(self, other: object) -> bool:
        return self._whole() == (other._whole() if isinstance(other, TrackedConfig) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # it is equal to dicts, which have no hash

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.copy() if type(other) is not TrackedConfig else NotImplemented

    def __repr__(self) -> str:
        return repr(self._whole())

    def copy(self) -> dict[str, Any]:
        return cast("dict[str, Any]", copy.deepcopy(self._whole()))

    __copy__ = copy
    fromkeys = dict.fromkeys

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return self.copy()

    def __reduce_ex__(self, protocol: Any) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (self.copy(),)

    def __setitem__(self, key: str, value: Any) -> None:
        self._written(f"{key}")[key] = value

    def __delitem__(self, key: str) -> None:
        del self._written(f"{key}")[key]

    def __ior__(self, other: Any) -> Any:
        written = self._written()
        written.update(other)
        return written

    def setdefault(self, key: str, default: Any = None) -> Any:
        return self._written(f"{key}").setdefault(key, default)

    def update(self, *other: Any, **more: Any) -> None:
        self._written().update(*other, **more)

    def pop(self, key: str, *default: Any) -> Any:
        return self._written(f"{key}").pop(key, *default)

    def popitem(self) -> tuple[str, Any]:
        return self._written().popitem()

    def clear(self) -> None:
        self._written().clear()

    def _value(self, key: str) -> Any:
        value = self._tree[key]
        if isinstance(value, dict):
            return TrackedConfig(value, self._reads, (*self._path, key))
        return copy.deepcopy(value)

    def _whole(self) -> LeafConfig:
        if (read := (self._path, True)) not in self._reads:
            self._reads[read] = glimpse(self._tree, (), deep=True)
        return self._tree

    def _written(self, *key: str) -> dict[str, Any]:
        """Turn this object into a plain dict that a library may change. Raises TypeError for user code."""
        writer: FrameType = sys._getframe(2)
        if is_users(writer.f_code.co_filename):
            knob = ".".join((*self._path, *key)) or "it"
            raise TypeError(f"the config is read-only: {knob} cannot be changed; {PLAIN}")
        plain = self.copy()
        dict.clear(self)
        dict.update(self, plain)
        self.__class__ = Written  # type: ignore[assignment]
        return self


for representer in (yaml.representer.SafeRepresenter, yaml.representer.Representer):
    for mapping in (TrackedConfig, Written):
        representer.add_representer(mapping, representer.represent_dict)


_memories: dict[Path, dict[str, Any]] = {}


def _unread(tree: LeafConfig) -> dict[str, Any]:
    """Return the memory of a TrackedConfig over this tree; cached for each mapping of a leaf config."""
    keys = tuple(tree)
    if keys not in _memories:
        _memories[keys] = cast("dict[str, Any]", {unread: unread for unread in map(Unread, keys)})
    return _memories[keys]


def seen(reads: Reads, path: Path) -> bool:
    """Whether the knob at `path` was read, by itself or within a mapping that was read as a whole."""
    wholes = (path[:length] for length in range(len(path) + 1))
    return (path, False) in reads or any((whole, True) in reads for whole in wholes)


def sought(reads: Reads) -> Iterator[Path]:
    """Yield the knobs that were looked up but do not exist."""
    return (path for (path, _), value in reads.items() if value == ABSENT)


def ends(tree: LeafConfig, path: Path = ()) -> Iterator[Path]:
    """Yield the paths of the knobs in a tree whose value is not a mapping."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from ends(value, (*path, key))
        else:
            yield (*path, key)


def agrees(reads: Reads, tree: LeafConfig) -> bool:
    """Whether code that made these reads would have read the same values in `tree`."""
    return all(glimpse(tree, path, deep) == seen for (path, deep), seen in reads.items())


def glimpse(tree: LeafConfig, path: Path, deep: bool) -> str:
    """Return what a read at `path` returns: absent, a mark for a mapping, or canonical JSON."""
    node: Any = tree
    for key in path:
        if not isinstance(node, Mapping) or key not in node:
            return ABSENT
        node = node[key]
    return "mapping" if isinstance(node, Mapping) and not deep else canonical(node)
