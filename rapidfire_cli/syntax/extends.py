"""`extends:`: the files that a file builds on, read and merged below it."""

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import NamedTuple, TypeAlias, assert_never

from rapidfire_cli.problems import Problem, Refusal, SourceName, Span
from rapidfire_cli.shapes import Items
from rapidfire_cli.syntax.check import Place, check_shape
from rapidfire_cli.syntax.diagnostics import Diagnostics
from rapidfire_cli.syntax.keys import EXTENDS, GROUP_KEYS
from rapidfire_cli.syntax.nodes import (
    Alternatives,
    Document,
    Entry,
    Interval,
    Mapping,
    Node,
    Scalar,
    Sequence,
    kind,
)
from rapidfire_cli.syntax.readers import read
from rapidfire_cli.syntax.text import MAX_BYTES

MAX_FILES = 32  # assumed: more is unreadable, and files that extend two others each double with every level


class Source(NamedTuple):
    """A file's bytes, and the name that spans call it by; the same file has the same name."""

    name: str
    data: bytes


Opener: TypeAlias = Callable[[str, str], Source]
"""From the path that a file names, and that file's own name, to the source. Raises Refusal."""


def alone(path: str, _file: str) -> Source:
    """The opener for texts that are not files: refuses every path."""
    raise Refusal([Problem("E501", "`extends` works only in files", found=path)])


def extended(document: Document, file: str, opener: Opener, max_bytes: int = MAX_BYTES) -> Document:
    """Merge the document over all files that it extends. Raises Refusal, located at the failing `extends`."""
    return _Family(opener, max_bytes).join(document, (file,))


class _Family:
    """Reads and merges files, counting every file read."""

    def __init__(self, opener: Opener, max_bytes: int) -> None:
        self._opener = opener
        self._max_bytes = max_bytes
        self._files = 1

    def join(self, document: Document, line: tuple[str, ...]) -> Document:
        """The document over its bases; `line` leads from the first file to this one."""
        if not isinstance(document.root, Mapping) or not (entry := document.root.get("extends")):
            return document
        try:
            bases = [self._base(path, line) for path in _paths(entry)]
        except Refusal as refusal:
            raise Refusal([*document.problems, *refusal.problems]) from None
        _, root = document.root.split(("extends",))
        inherited = Mapping((), root.span)
        for base in bases:
            assert isinstance(base.root, Mapping)
            inherited = merge_files(inherited, base.root)
        return Document(
            merge_files(inherited, root),
            (*(problem for base in bases for problem in base.problems), *document.problems),
            (*(places for base in bases for places in base.places), *document.places),
        )

    def _base(self, path: Scalar, line: tuple[str, ...]) -> Document:
        self._files += 1
        if self._files > MAX_FILES:
            expected = f"at most {MAX_FILES}"
            raise Refusal([Problem("E122", "too many files in `extends`", path.span, expected=expected)])
        source = self._open(f"{path.value}", line[-1], path.span)
        if source.name in line:
            circle = " → ".join((*line[line.index(source.name) :], source.name))
            raise Refusal([Problem("E121", "a file cannot extend itself", path.span, found=circle)])
        name = SourceName(source.name, source.data.decode(errors="replace"))
        base = read(source.data, name, self._max_bytes)
        if not isinstance(base.root, Mapping):
            message, found = "an extended file must be a mapping", kind(base.root)
            raise Refusal([*base.problems, Problem("E203", message, base.root.span, found, "a mapping")])
        return self.join(base, (*line, source.name))

    def _open(self, path: str, file: str, at: Span) -> Source:
        try:
            return self._opener(path, file)
        except Refusal as refusal:
            found = (problem.span.file if problem.span else path for problem in refusal.problems)
            located = (
                replace(problem, span=at, found=name)
                for problem, name in zip(refusal.problems, found, strict=True)
            )
            raise Refusal(located) from None


def _paths(entry: Entry) -> list[Scalar]:
    """extends := `extends:` ( path | `[` path… `]` )."""
    diagnostics = Diagnostics()
    shape = Items(EXTENDS) if isinstance(entry.node, Sequence) else EXTENDS
    check_shape(shape, entry.node, Place("`extends`", "extends", entry.at), diagnostics)
    if diagnostics.problems:
        raise Refusal(diagnostics.problems)
    items = entry.node.items if isinstance(entry.node, Sequence) else (entry.node,)
    return [item for item in items if isinstance(item, Scalar)]


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
