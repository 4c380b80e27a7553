"""Which knobs the runs have and which of them differ, known from the AST alone."""

from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias

from rapidfire_cli.manifest.knob_paths import ABSENT, Absent, dotted
from rapidfire_cli.syntax.ast import ExperimentFile, List, Path, Range, Tree, is_value
from rapidfire_cli.syntax.serialize import spelt
from rapidfire_cli.terms import canonical

Values: TypeAlias = "dict[Path, set[str | Absent]]"
"""Enough of each knob's values to tell whether it varies, as canonical JSON; knobs in file order."""


def every(file: ExperimentFile) -> tuple[str, ...]:
    """The dotted paths of the knobs that the runs have, in file order."""
    return tuple(map(dotted, values(file)))


def varied(file: ExperimentFile) -> tuple[str, ...]:
    """The dotted paths of the knobs that differ among the runs, or that some runs lack, in file order."""
    return tuple(dotted(at) for at, texts in values(file).items() if len(texts) > 1)


def values(file: ExperimentFile) -> Values:
    """The values of every knob that the runs have."""
    return _any(_values(group.generator.tree, ()) for group in file.groups)


def _values(tree: Tree, at: Path) -> Values:
    match tree:
        case List(values):
            return _any(_values(value, at) for value in values)
        case Range(start, end, dtype):
            return {at: {repr(float(bound)) if dtype == "float" else repr(bound) for bound in (start, end)}}
        case dict() if tree or not at:
            return _all(_values(value, (*at, key)) for key, value in tree.items())
        case list() if not is_value(tree):
            return _all(_values(value, (*at, index)) for index, value in enumerate(tree))
        case _:
            return {at: {canonical(spelt(tree))}}


def _all(parts: Iterable[Values]) -> Values:
    return {at: texts for part in parts for at, texts in part.items()}


def _any(alternatives: Iterable[Values]) -> Values:
    """What one or the other alternative gives; a knob that not all of them have is also absent."""
    values, having, everyone = dict[Path, set[str | Absent]](), Counter[Path](), 0
    for alternative in alternatives:
        everyone += 1
        having.update(alternative.keys())
        for at, texts in alternative.items():
            values.setdefault(at, set()).update(texts)
    return {at: texts if having[at] == everyone else texts | {ABSENT} for at, texts in values.items()}
