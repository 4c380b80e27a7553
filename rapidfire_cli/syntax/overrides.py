"""Apply `--set` and `--unset` to a file's nodes."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, assert_never

from rapidfire_cli.problems import Problem, Refusal, SourceName, Span, did_you_mean, shortened
from rapidfire_cli.syntax.keys import FILE, GENERATORS, GROUP_KEYS
from rapidfire_cli.syntax.nodes import (
    Alternatives,
    Document,
    Entry,
    Interval,
    Mapping,
    Node,
    Scalar,
    Sequence,
)
from rapidfire_cli.syntax.text import decode

SET, UNSET = "--set", "--unset"

_STEP = re.compile(r'"[^"\n]+"|[^.="+:\s][^.=":\s]*')
_FORM = re.compile(
    rf"(?P<new>\+)?(?:(?P<group>[1-9][0-9]{{0,8}}):(?P<here>\+)?)?"
    rf"(?P<path>(?:{_STEP.pattern})(?:\.(?:{_STEP.pattern}))*)(?:=(?P<value>.*))?",
    re.DOTALL,
)
_FORMS = {
    SET: "PATH=VALUE, N:PATH=VALUE for group N, +PATH=VALUE for a new path",
    UNSET: "PATH, N:PATH for group N",
}
_IN_FILE = FILE.keys.keys()
_DEFAULTED = _IN_FILE - {"data"}  # keys that `--set` can add without `+`
_COMPARED = 1000  # assumed: paths that are compared with a mistyped one


class Argument(NamedTuple):
    """The argument of an option such as `--set`; `line` is its first line in the option's source."""

    option: str
    text: str
    line: int

    def span(self, start: int = 0, end: int | None = None) -> Span:
        """A stretch of its first line, the whole of it by default."""
        line, _, _ = self.text.partition("\n")
        return Span(self.option, self.line, start + 1, max(1, len(line[start:end])))


class Step(NamedTuple):
    """One key of a path, and where the argument names it."""

    key: str
    at: Span


@dataclass(frozen=True, slots=True)
class Change:
    """A parsed argument."""

    steps: tuple[Step, ...]
    value: Node | None  # None removes the value
    group: int | None  # from 1; None means every one
    new: bool  # whether the path may be new

    @property
    def path(self) -> str:
        """As problems write it."""
        return shortened(".".join(step.key for step in self.steps))


def arguments(option: str, texts: Iterable[str]) -> Iterator[Argument]:
    """The arguments of an option; spans point into these texts, joined as lines."""
    line, every = 1, list(texts)
    option = SourceName(option, "\n".join(every))
    for text in every:
        yield Argument(option, text, line)
        line += 1 + text.count("\n")


def overridden(document: Document, said: Iterable[Argument]) -> Document:
    """Apply the arguments to the document, one by one. Raises Refusal, located in the arguments."""
    root, problems, refused = document.root, list(document.problems), False
    for argument in said if isinstance(root, Mapping) else ():
        try:
            change, found = _understood(argument)
            problems += found
            root = _applied(change, root)
        except Refusal as refusal:
            problems += refusal.problems
            refused = True
    if refused:
        raise Refusal(problems)
    return document._replace(root=root, problems=tuple(problems))


def _understood(argument: Argument) -> tuple[Change, tuple[Problem, ...]]:
    """override := [`+`] [group `:`] key (`.` key)… [`=` value]; and what is wrong with the value."""
    option, text, line = argument
    above = "\n" * (line - 1)
    text = decode(f"{above}{text}".encode("utf-8", "surrogateescape"), option).removeprefix(above)
    said = _FORM.fullmatch(text)
    new = said and (said["new"] or said["here"])
    if not said or (said["value"] is None) is (option == SET) or (new and option == UNSET):
        message = f"expected {_FORMS[option].partition(',')[0]}"
        raise Refusal([Problem("E531", message, argument.span(), expected=_FORMS[option])])
    steps = (
        Step(step.group().strip('"'), Span(option, line, step.start() + 1, step.end() - step.start()))
        for step in _STEP.finditer(text, *said.span("path"))
    )
    value = (
        _value(f"{above}{' ' * said.start('value')}{said['value']}", said, argument)
        if option == SET
        else None
    )
    change = Change(
        steps=tuple(steps),
        value=value.root if value else None,
        group=int(said["group"]) if said["group"] else None,
        new=bool(new),
    )
    return change, value.problems if value else ()


def _value(padded: str, said: re.Match[str], argument: Argument) -> Document:
    """Read the value at its place in the option's source; an empty value is null, as after a key."""
    if said["value"].strip():
        from rapidfire_cli.syntax.yaml_reader import read_yaml

        return read_yaml(padded, argument.option)
    return Document(Scalar(None, Span(argument.option, argument.line, len(argument.text))))


def _applied(change: Change, root: Node) -> Node:
    """Apply the change to the file. Raises Refusal when it changes nothing."""
    first = change.steps[0]
    if change.group is None and first.key in _IN_FILE:
        changed = _changed(root, change.steps, change.value, change.new or first.key in _DEFAULTED)
        if changed is None:
            raise Refusal([_unknown(change, root)])
        return changed
    groups = _Groups(change)
    whole = groups.walk(root)
    if change.group and groups.met < change.group:
        expected = f"a group number up to {groups.met}, or none to change all groups"
        raise Refusal([Problem("E532", f"group {change.group} does not exist", first.at, expected=expected)])
    if not groups.changed:
        raise Refusal([_unknown(change, root)])
    return whole


class _Groups:
    """Applies a change to the config groups, in file order."""

    def __init__(self, change: Change) -> None:
        self.met = 0
        self.changed = False
        self._change = change

    def walk(self, node: Node) -> Node:
        """The groups at or below a node."""
        match node:
            case Sequence(items):
                return node._replace(items=tuple(map(self.walk, items)))
            case Mapping(entries):
                return node._replace(entries=tuple(map(self._entry, entries)))
            case Scalar() | Alternatives() | Interval():
                return node
        assert_never(node)

    def _entry(self, entry: Entry) -> Entry:
        if entry.key == "config_group":
            return entry._replace(node=self.walk(entry.node))
        if entry.key not in GENERATORS:
            return entry
        self.met += 1
        change = self._change
        if change.group not in (None, self.met):
            return entry
        changed = _changed(entry.node, change.steps, change.value, change.new)
        self.changed |= changed is not None
        return entry if changed is None else entry._replace(node=changed)


def _changed(node: Node, steps: tuple[Step, ...], value: Node | None, new: bool) -> Node | None:
    """The node with the value at the path, in every alternative that has it; None when none does."""
    match node:
        case Alternatives(items):
            changed = [_changed(item, steps, value, new) for item in items]
            kept = tuple(item if other is None else other for item, other in zip(items, changed, strict=True))
            return None if kept == items else node._replace(items=kept)
        case Sequence(items):
            return _changed_item(node, steps, value, new)
        case Mapping(entries):
            step, *rest = steps
            old = node.get(step.key)
            if old is None and (value is None or not new):
                return None
            inner = value
            if rest:
                inner = _changed(old.node if old else Mapping((), step.at), tuple(rest), value, new)
                if inner is None:
                    return None
            after = {entry.key: entry for entry in entries if inner is not None or entry is not old}
            if inner is not None:
                after[step.key] = Entry(step.key, old.at if old and rest else step.at, inner)
            return node._replace(entries=tuple(after.values()))
        case Scalar() | Interval():
            return None
    assert_never(node)


def _changed_item(node: Sequence, steps: tuple[Step, ...], value: Node | None, new: bool) -> Node | None:
    """The list with the value at the path, whose first step is an index; a new item can follow the last."""
    step, *rest = steps
    items = list(node.items)
    index = next((place for place in range(len(items) + 1) if step.key == str(place)), None)
    if index is None or (index == len(items) and not (new and value is not None)):
        return None
    inner = value
    if rest:
        inner = _changed(items[index] if index < len(items) else Mapping((), step.at), (*rest,), value, new)
        if inner is None:
            return None
    items[index : index + 1] = [] if inner is None else [inner]
    return node._replace(items=tuple(items))


def _unknown(change: Change, root: Node) -> Problem:
    where = f"group {change.group}" if change.group else "the file"
    paths = [*islice(_paths(root), _COMPARED)]
    ends = dict.fromkeys(path for path in paths if path.endswith(f".{change.path}"))
    hint = f"did you mean `{next(iter(ends))}`?" if len(ends) == 1 else did_you_mean(change.path, paths)
    if change.new:
        hint = "the part before the last key must be a mapping"
    elif change.value is not None:
        hint = f"{hint} " * bool(hint) + f"use `{SET} +{change.path}=…` to add it"
    first, last = change.steps[0].at, change.steps[-1].at
    span = first._replace(width=last.column + last.width - first.column)
    return Problem("E530", f"`{change.path}` is not in {where}", span, hint=hint)


def _paths(node: Node, prefix: str = "") -> Iterator[str]:
    """The dotted paths that an override may name, without the keys that open groups."""
    match node:
        case Alternatives(items):
            for item in items:
                yield from _paths(item, prefix)
        case Sequence(items):
            for index, item in enumerate(items):
                yield from _paths(item, f"{prefix}{index}." if prefix else "")
        case Mapping(entries):
            for entry in entries:
                opens = not prefix and entry.key in GROUP_KEYS
                if not opens:
                    yield f"{prefix}{entry.key}"
                yield from _paths(entry.node, "" if opens else f"{prefix}{entry.key}.")
        case Scalar() | Interval():
            pass
        case _:
            assert_never(node)
