"""The productions of config groups."""

from collections.abc import Iterator
from typing import assert_never

from rapidfire_cli.problems import Span
from rapidfire_cli.shapes import Free, Record, alternatives
from rapidfire_cli.syntax.ast import Group, Path
from rapidfire_cli.syntax.check import unknown_key
from rapidfire_cli.syntax.diagnostics import Diagnostics
from rapidfire_cli.syntax.generators import generator
from rapidfire_cli.syntax.keys import GENERATORS
from rapidfire_cli.syntax.nodes import Alternatives, Entry, Interval, Mapping, Node, Scalar, Sequence, kind

WORDS = alternatives([f"`{word}:`" for word in GENERATORS])
_KINDS = Record(dict.fromkeys(GENERATORS, Free()), hint=f"put the sections of a config under {WORDS}")


def groups(node: Node, path: Path, diagnostics: Diagnostics) -> Iterator[Group]:
    """groups := group | `[` groups… `]`."""
    diagnostics.origins[path] = node.span
    match node:
        case Sequence(()):
            diagnostics.missing("E207", "this list has no config group", node.span, expected="at least one")
        case Sequence(items):
            for index, item in enumerate(items):
                yield from groups(item, (*path, index), diagnostics)
        case Mapping():
            yield from group(node, path, diagnostics)
        case Scalar() | Alternatives() | Interval():
            expected = f"a mapping with the key {WORDS}, or a list of such mappings"
            diagnostics.error("E203", "not a config group", node.span, found=kind(node), expected=expected)
        case _:
            assert_never(node)


def group(node: Mapping, path: Path, diagnostics: Diagnostics) -> Iterator[Group]:
    """group := `{` ( config | gridsearch | randomsearch | sha | hyperband | search | pbt ) `}`."""
    openers = [entry for entry in node.entries if entry.key in GENERATORS]
    for entry in node.entries:
        if entry.key not in GENERATORS:
            unknown_key(entry, _KINDS, "a config group", diagnostics)
    yield from opened(openers, node.span, path, diagnostics)


def opened(openers: list[Entry], span: Span, path: Path, diagnostics: Diagnostics) -> Iterator[Group]:
    """The one group that the openers hold."""
    match openers:
        case []:
            expected = f"{WORDS}, or several under `config_group:`"
            diagnostics.missing("E207", "missing config group", span, expected=expected)
        case [entry]:
            at = (*path, entry.key)
            if understood := generator(entry, at, diagnostics):
                yield Group(understood, at)
        case [first, second, *_]:
            message = f"`{first.key}:` and `{second.key}:` cannot be combined"
            hint = "put several groups in a list under `config_group:`, each after its own `-`"
            diagnostics.error("E208", message, second.at, expected="one config group", hint=hint)
