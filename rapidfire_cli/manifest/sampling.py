"""Distinct leaf configs drawn independently, the same ones on every machine and for ever.

A group's draws depend on the file's seed and the group's value sets alone. So they stay when a constant is
edited, groups are added, keys change places or more runs are asked for.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from random import Random
from typing import TypeAlias

from rapidfire_cli.manifest.filters.filter import Filter, filters, fits, verdicts
from rapidfire_cli.manifest.interval import point
from rapidfire_cli.manifest.size import Search, asked, budget, number_key, size
from rapidfire_cli.manifest.template import ValueSet, weave
from rapidfire_cli.problems import Problem, Refusal, Span
from rapidfire_cli.syntax.ast import ExperimentFile, List, Tree
from rapidfire_cli.syntax.serialize import spelt
from rapidfire_cli.terms import canonical

PATIENCE = 1000  # assumed: after this many repeats in a row, sampling gives up

Fractions: TypeAlias = Callable[[], float]
"""Uniform u, 0 ≤ u < 1: `random.Random(…).random`, the one method whose sequence Python guarantees."""

Draw: TypeAlias = Callable[[], str]


def streams(file: ExperimentFile) -> Iterator[Fractions | None]:
    """The randomness of each group, in order; None for those that draw nothing."""
    met = Counter[str]()
    for group in file.groups:
        if isinstance(group.generator, Search):
            key = signature(group.generator.tree)
            yield stream(file.seed, key, met[key])
            met[key] += 1
        else:
            yield None


def signature(tree: Tree) -> str:
    """The value sets of a config by knob path: what its draws depend on beside the seed."""
    return canonical([[list(at), spelt(values)] for at, values in weave(tree).holes])


def stream(seed: int, signature: str, occurrence: int) -> Fractions:
    """The randomness of the `occurrence`-th group (from 0) with this signature."""
    key = canonical([seed, signature, occurrence])
    return Random(int.from_bytes(sha256(key.encode()).digest())).random


def shortage(search: Search, span: Span | None) -> Problem | None:
    """What is wrong when there are fewer leaves than runs asked for."""
    leaves, wanted = size(search.tree), budget(search)
    if leaves is None or leaves >= wanted:
        return None
    return Problem(
        "E330",
        f"cannot draw {wanted} distinct runs from {leaves} combinations",
        span,
        found=f"{wanted}",
        expected=f"at most {leaves}",
        hint=_hint(search),
    )


def draws(search: Search, fractions: Fractions, span: Span | None) -> Iterator[str]:
    """The leaf configs of a search as canonical JSON. Raises Refusal after 1,000 draws in vain."""
    return (leaf for leaf, fits in tried(search, fractions, span) if fits)


def tried(search: Search, fractions: Fractions, span: Span | None) -> Iterator[tuple[str, bool]]:
    """Independent draws, repeats left out, each with whether the filters keep it, until there are enough.

    Raises Refusal after 1,000 draws in a row that repeat earlier ones or break the filters.
    """
    draw, wanted, fitting = _drawer(search.tree, fractions), asked(search), fits(search)
    seen, found, vain = set[bytes](), 0, 0
    while found < wanted:
        leaf = draw()
        mark = sha256(leaf.encode()).digest()  # a tenth of the leaf's memory
        vain += 1
        if mark not in seen:
            seen.add(mark)
            if kept := fitting(leaf):
                found, vain = found + 1, 0
            yield leaf, kept
        if vain == PATIENCE:
            raise Refusal([_exhausted(search, found, len(seen) - found, span)])


def idle(search: Search, fractions: Fractions) -> tuple[Filter, ...]:
    """The filters that remove none of the first 1,000 draws."""
    draw, judge = _drawer(search.tree, fractions), verdicts(search)
    found = zip(*(judge(draw()) for _ in range(PATIENCE)), strict=True)
    return tuple(filter_ for filter_, kept in zip(filters(search), found, strict=True) if all(kept))


def _drawer(tree: Tree, fractions: Fractions) -> Draw:
    """Draws a leaf at each call: a fraction per axis, keys sorted, a list's branch before its values."""
    template = weave(tree)
    *befores, after = template.text
    leads: dict[str, list[int]] = {}
    choosers = [
        (text, _chooser(hole, fractions, leads))
        for text, (_, hole) in zip(befores, template.holes, strict=True)
    ]
    return lambda: "".join([before + choose() for before, choose in choosers]) + after


def _chooser(values: ValueSet, fractions: Fractions, leads: dict[str, list[int]]) -> Draw:
    """Draws the value of a hole; `leads` holds the choices made so far for `!zip` groups."""
    if not isinstance(values, List):
        at = point(values)
        return lambda: repr(at(fractions()))  # JSON writes finite numbers as Python does
    branches = [_drawer(value, fractions) for value in values.values]
    if values.label is None:
        return lambda: branches[int(fractions() * len(branches))]()  # noqa: PLW0108 - drawn at each call
    if values.label in leads:
        taken = leads[values.label]
        return lambda: branches[taken[0]]()  # noqa: PLW0108 - as drawn before
    lead = leads[values.label] = [0]

    def draw() -> str:
        lead[0] = int(fractions() * len(branches))
        return branches[lead[0]]()

    return draw


def _exhausted(search: Search, found: int, removed: int, span: Span | None) -> Problem:
    broke = f" or were removed by where/exclude ({removed:,} removed in total)" if removed else ""
    return Problem(
        "E331",
        f"found only {found} distinct runs: {PATIENCE:,} draws in a row repeated earlier ones{broke}",
        span,
        found=f"{asked(search)}",
        expected=f"at most {found}",
        hint=f"loosen where/exclude, or {_hint(search)}" if removed else _hint(search),
    )


def _hint(search: Search) -> str:
    return f"lower {number_key(search)}, or give the knobs more values"
