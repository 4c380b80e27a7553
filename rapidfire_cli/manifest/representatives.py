"""Runs of one shape: leaf configs that are equal once numbers are replaced by their types."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from rapidfire_cli.syntax.ast import Path
from rapidfire_cli.terms import Plain, Run, canonical, gang_size, takes_all_gpus

TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*')  # strings and numbers of a JSON text
MEASURED = 32  # runs whose memory is measured at most: each takes a second or more (assumed)
LIGHT: tuple[Path, ...] = tuple(
    ("train", key)
    for key in (
        "epochs",
        "optimizer",
        "lr_scheduler",
        "steps_per_epoch",
        "grad_accumulation",
        "max_grad_norm",
    )
)
"""Where numbers are that do not change how much memory a run needs."""
VARIANTS = 1000  # assumed: what a worker tries out in a second; beyond, the ends of each number's range count


@dataclass(frozen=True, slots=True)
class Representatives:
    """A summary of the runs before training, made by parsing each leaf config once."""

    kinds: tuple[Run, ...]  # the first run of each shape, in order
    others: tuple[Run, ...]  # of the other runs the first of each distinct `train` section, in order
    epochs: Mapping[int, int]  # that each run trains, by number
    gangs: Mapping[int, int]  # slots that runs need at once, by number; of runs that need more than one
    spread: frozenset[int] = frozenset()  # the numbers of runs that take all GPUs

    def on(self, gpus: int) -> "Representatives":
        """The same, for a machine with this number of GPUs."""
        return replace(self, gangs={**self.gangs, **dict.fromkeys(self.spread, gpus)}) if gpus > 1 else self


def representatives(runs: Iterable[Run], most: int = VARIANTS) -> Representatives:
    """The outline of runs.

    Of more than `most` sections those are kept that hold the smallest or the largest value of a number among
    the sections of one shape, with others at even distances.
    """
    kinds: dict[str, Run] = {}
    sections: dict[str, Run] = {}
    epochs: dict[int, int] = {}
    gangs: dict[int, int] = {}
    spread: set[int] = set()
    for run in runs:
        leaf = run.leaf
        kinds.setdefault(shape(run.config), run)
        sections.setdefault(canonical(leaf["train"]), run)
        epochs[run.number] = leaf["train"]["epochs"]
        if (size := gang_size(leaf)) > 1:
            gangs[run.number] = size
        if takes_all_gpus(leaf):
            spread.add(run.number)
    distinct = tuple(sections.values())
    if len(distinct) > most:
        chosen = {run.number: run for run in (*_extremes(distinct), *_spread(distinct, most))}
        distinct = tuple(chosen[number] for number in sorted(islice(chosen, most)))
    known = {run.number for run in kinds.values()}
    others = tuple(run for run in distinct if run.number not in known)
    return Representatives(tuple(kinds.values()), others, epochs, gangs, frozenset(spread))


def heaviest(runs: Iterable[Run], most: int = MEASURED) -> tuple[Run, ...]:
    """The runs that may need the most memory: of each shape one whose numbers are largest together.

    Then those with the smallest or the largest value of a number, as a small patch size may need more.
    """
    shapes: dict[str, list[tuple[Run, dict[Path, float]]]] = {}
    for run in runs:
        counts = {at: value for at, value in _numbers(run.leaf) if not _is_light(at)}
        shapes.setdefault(shape(run.config), []).append((run, counts))
    first: dict[int, Run] = {}
    others: dict[int, Run] = {}
    for members in shapes.values():
        spans = {at: sorted({counts[at] for _, counts in members}) for at in members[0][1]}
        varying = {at: span for at, span in spans.items() if len(span) > 1}
        run, _ = max(members, key=lambda member: _together(member[1], varying))
        first[run.number] = run
        for at in varying:
            for run, _ in (
                min(members, key=lambda one: one[1][at]),
                max(members, key=lambda one: one[1][at]),
            ):
                others[run.number] = run
    return tuple({**first, **others}.values())[:most]


def _is_light(at: Path) -> bool:
    """Whether the number at this path takes no memory."""
    return any(at[: len(light)] == light for light in LIGHT)


def _together(counts: Mapping[Path, float], varying: Mapping[Path, Sequence[float]]) -> float:
    """How large the numbers are, each between 0 and 1 of its span."""
    return sum((counts[at] - low) / (high - low) for at, (low, *_, high) in varying.items())


def shape(config: str) -> str:
    """The canonical JSON with the name of its type in place of every number."""
    return TOKENS.sub(_type, config)


def _type(token: re.Match[str]) -> str:
    text = token[0]
    if text[0] == '"':
        return text
    return "int" if text.lstrip("-").isdecimal() else "float"


def _extremes(runs: Sequence[Run]) -> Iterator[Run]:
    """The runs with the smallest and the largest value of each number, by the shape of `train`."""
    least: dict[tuple[str, Path], tuple[float, Run]] = {}
    largest: dict[tuple[str, Path], tuple[float, Run]] = {}
    for run in runs:
        train = run.leaf["train"]
        kind = shape(canonical(train))
        for path, value in _numbers(train):
            known = least.setdefault((kind, path), (value, run))
            if value < known[0]:
                least[kind, path] = value, run
            known = largest.setdefault((kind, path), (value, run))
            if value > known[0]:
                largest[kind, path] = value, run
    for key, (_, run) in least.items():
        yield run
        yield largest[key][1]


def _spread(runs: Sequence[Run], many: int) -> Sequence[Run]:
    return runs[:: -(-len(runs) // many)]


def _numbers(value: Plain, at: Path = ()) -> Iterator[tuple[Path, float]]:
    match value:
        case dict():
            for key, item in value.items():
                yield from _numbers(item, (*at, key))
        case list():
            for index, item in enumerate(value):
                yield from _numbers(item, (*at, index))
        case int() | float() if not isinstance(value, bool):
            yield at, value
