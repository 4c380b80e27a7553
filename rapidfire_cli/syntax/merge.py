"""Merge the nodes of one file over those of another that it extends."""

from collections.abc import Hashable
from typing import assert_never

from rapidfire_cli.syntax.keys import GROUP_KEYS
from rapidfire_cli.syntax.nodes import Alternatives, Entry, Interval, Mapping, Node, Scalar, Sequence

_NAME = "name"  # of an optimizer or a scheduler: the arguments beside it are its own


def merge_files(base: Mapping, over: Mapping) -> Mapping:
    """Merge the file `over` with the file it extends; the experiment's name is not inherited."""
    _, inherited = base.split(("experiment",))
    merged = merge(inherited, over, opens_group=True)
    assert isinstance(merged, Mapping)
    return merged


def merge(base: Node, over: Node, opens_group: bool = False) -> Node:
    """Merge mappings key by key, `over` winning; replace everything else, lists and value sets included.

    Where a config group may open, naming another kind of group replaces the base's.
    """
    match base, over:
        case Mapping(), Mapping() if not _differ(base.get(_NAME), over.get(_NAME)):
            if opens_group and any(
                entry.key in GROUP_KEYS and not base.get(entry.key) for entry in over.entries
            ):
                _, base = base.split(GROUP_KEYS)
            entries = {entry.key: entry for entry in base.entries}
            for entry in over.entries:
                old = entries.get(entry.key)
                groups = opens_group and entry.key == "config_group"
                entries[entry.key] = (
                    entry._replace(node=merge(old.node, entry.node, groups)) if old else entry
                )
            return over._replace(entries=tuple(entries.values()))
    return over


def _differ(one: Entry | None, other: Entry | None) -> bool:
    return one is not None and other is not None and _meaning(one.node) != _meaning(other.node)


def _meaning(node: Node) -> Hashable:
    """The meaning of a node without its place."""
    match node:
        case Scalar(value):
            return (type(value), value)
        case Sequence(items):
            return (Sequence, *map(_meaning, items))
        case Alternatives(items, label=label):
            return (Alternatives, label, *map(_meaning, items))
        case Mapping(entries):
            return frozenset((entry.key, _meaning(entry.node)) for entry in entries)
        case Interval(parts):
            return (Interval, _meaning(parts))
    assert_never(node)
