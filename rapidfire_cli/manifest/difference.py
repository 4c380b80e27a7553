"""What changes between the runs of two files."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import NamedTuple, TypeAlias

from rapidfire_cli.manifest.knob_paths import ABSENT, Absent, dotted, knobs
from rapidfire_cli.syntax.ast import ExperimentFile, Path
from rapidfire_cli.terms import Plain, Run, canonical

COMPARED = 100_000  # pairs per group: a second's work (measured); of more, runs are paired in their order

KnobValue: TypeAlias = "Plain | Absent"


class Change(NamedTuple):
    """One thing that has another value."""

    name: str  # a knob's dotted path, or what all runs of a file share
    before: "KnobValue"
    after: "KnobValue"


class Kept(NamedTuple):
    """The same run in both, under its two numbers."""

    before: Run
    after: Run


class Changed(NamedTuple):
    """A run that took another's place, and the knobs in which they differ."""

    before: Run
    after: Run
    knobs: tuple[Change, ...]


class Difference(NamedTuple):
    """Every run of both, once."""

    added: tuple[Run, ...]
    removed: tuple[Run, ...]
    changed: tuple[Changed, ...]
    kept: tuple[Kept, ...]

    @property
    def differs(self) -> bool:
        """Whether any run is not in both."""
        return bool(self.added or self.removed or self.changed)


def difference(before: Iterable[Run], after: Iterable[Run]) -> Difference:
    """Match runs by (id, k-th occurrence); then pair the others of a group, the most alike first.

    Of equal pairs the one with the lower numbers goes first. Groups are known by their index.
    """
    kept, removed, added = _matched(before, after)
    changed = [pair for group in _by_group(removed, added) for pair in _paired(*group)]
    gone, come = {pair.before.number for pair in changed}, {pair.after.number for pair in changed}
    return Difference(
        added=tuple(run for run in added if run.number not in come),
        removed=tuple(run for run in removed if run.number not in gone),
        changed=tuple(sorted(changed, key=lambda pair: pair.before.number)),
        kept=tuple(kept),
    )


def shared_changes(before: ExperimentFile, after: ExperimentFile) -> tuple[Change, ...]:
    """Changes to what is part of every run's id but not in its config."""
    facts = ("mlspec", "data", "seed")
    both = ((name, getattr(before, name), getattr(after, name)) for name in facts)
    return tuple(Change(*fact) for fact in both if fact[1] != fact[2])


def _matched(before: Iterable[Run], after: Iterable[Run]) -> tuple[list[Kept], list[Run], list[Run]]:
    waiting = _by_occurrence(before)
    kept, added = [], []
    for key, run in _by_occurrence(after).items():
        if same := waiting.pop(key, None):
            kept.append(Kept(same, run))
        else:
            added.append(run)
    return kept, [*waiting.values()], added


def _by_occurrence(runs: Iterable[Run]) -> dict[tuple[str, int], Run]:
    met = Counter[str]()
    found = {}
    for run in runs:
        found[run.id, met[run.id]] = run
        met[run.id] += 1
    return found


def _by_group(removed: Iterable[Run], added: Iterable[Run]) -> Iterator[tuple[list[Run], list[Run]]]:
    groups: defaultdict[int, tuple[list[Run], list[Run]]] = defaultdict(lambda: ([], []))
    for place, runs in enumerate((removed, added)):
        for run in runs:
            groups[run.group][place].append(run)
    yield from groups.values()


def _paired(removed: Sequence[Run], added: Sequence[Run]) -> Iterator[Changed]:
    used: set[Run] = set()
    for before, after in _pairs(removed, added):
        if before not in used and after not in used:
            used |= {before, after}
            yield Changed(before, after, _changes(before, after))


def _pairs(removed: Sequence[Run], added: Sequence[Run]) -> Iterable[tuple[Run, Run]]:
    """The pairs to choose from, best first."""
    if len(removed) * len(added) > COMPARED:
        return zip(removed, added, strict=False)
    texts = {run: _texts(run) for run in (*removed, *added)}

    def distance(pair: tuple[Run, Run]) -> tuple[int, int, int]:
        before, after = pair
        return len(dict(texts[before] ^ texts[after])), before.number, after.number

    return sorted(product(removed, added), key=distance)


def _texts(run: Run) -> frozenset[tuple[Path, str]]:
    """Each knob and its value as canonical JSON, in which 1 and 1.0 are two values."""
    return frozenset((path, canonical(value)) for path, value in knobs(run.leaf))


def _changes(before: Run, after: Run) -> tuple[Change, ...]:
    one, other = dict(knobs(before.leaf)), dict(knobs(after.leaf))
    differing = {path for path, _ in _texts(before) ^ _texts(after)}
    return tuple(
        Change(dotted(path), one.get(path, ABSENT), other.get(path, ABSENT))
        for path in {**one, **other}
        if path in differing
    )
