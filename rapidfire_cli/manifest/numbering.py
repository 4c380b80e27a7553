"""Numbers that stay: a run that an experiment knows keeps its number, a new one takes a free one."""

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain, count

from rapidfire_cli.terms import Clone, OomRetry, Run


@dataclass(frozen=True, slots=True)
class Numbering:
    """The runs that the file lists, in file order, and the known ones that it no longer lists, by number."""

    listed: tuple[Run, ...]
    unlisted: tuple[Run, ...]


def number(runs: Iterable[Run], known: Iterable[Run]) -> Numbering:
    """Match runs with known ones by (id, k-th occurrence); the others keep their own number.

    Where an earlier run has that number, they take the next beyond all known ones. `known` holds every run
    that the experiment ever numbered: a number once given is never given again. Runs that were born during a
    fit match none: they come with the one that they were made of (`successors`).
    """
    in_order = sorted(known, key=_number)
    taken = {run.number for run in in_order}
    beyond = count(in_order[-1].number + 1 if in_order else 1)
    waiting: defaultdict[str, deque[Run]] = defaultdict(deque)
    for run in [run for run in in_order if run.origin is None]:
        waiting[run.id].append(run)
    listed = []
    for run in runs:
        same = waiting.get(run.id)
        if same:
            place = same.popleft().number
        else:
            place = next(free for free in chain([run.number], beyond) if free not in taken)
        taken.add(place)
        listed.append(replace(run, number=place))
    return Numbering(tuple(listed), tuple(sorted(chain.from_iterable(waiting.values()), key=_number)))


def successors(runs: Iterable[Run], known: Iterable[Run]) -> tuple[Run, ...]:
    """The known runs that were made of one of `runs`, directly or in several steps, by number."""
    groups = {run.number: run.group for run in runs}
    found = []
    for run in sorted(known, key=_number):
        if isinstance(run.origin, OomRetry | Clone) and run.origin.run in groups:
            groups[run.number] = groups[run.origin.run]
            found.append(replace(run, group=groups[run.number]))
    return tuple(found)


def _number(run: Run) -> int:
    return run.number
