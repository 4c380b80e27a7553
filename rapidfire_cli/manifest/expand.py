"""From a file's groups to its runs: lazily, in file order, numbered from 1."""

from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import TypeVar

from rapidfire_cli.manifest.check import find_problems
from rapidfire_cli.manifest.codec import line
from rapidfire_cli.manifest.filters.filter import filters
from rapidfire_cli.manifest.grid import leaves
from rapidfire_cli.manifest.identity import Replicate, replicates
from rapidfire_cli.manifest.origin import asking
from rapidfire_cli.manifest.sampling import Fractions, draws, streams
from rapidfire_cli.problems import Refusal, Span
from rapidfire_cli.syntax.ast import Config, ExperimentFile, Generator, GridSearch
from rapidfire_cli.terms import Run, WarmStart

COMPARED = 100_000  # runs: as many as `fit` takes without being told to take more
COMPARED_TEXT = 2**26  # characters of leaf configs: half a second's work (measured)

Spelt = TypeVar("Spelt")


def expand(file: ExperimentFile) -> Iterator[Run]:
    """Every run of the file.

    Raises Refusal: at once when a group asks for more distinct runs than there are, and on the way when its
    draws do not reach them.
    """
    return _spell(file, Run)


def jsonl(file: ExperimentFile) -> Iterator[str]:
    """Every run of the file as its manifest line. Raises Refusal as `expand` does."""
    return _spell(file, line)


def repeats(file: ExperimentFile) -> Iterator[tuple[int, int]]:
    """The numbers of runs whose id an earlier run has, each with that run's number.

    Of very many runs, or very long ones, only the first are compared.
    """
    first: dict[str, int] = {}
    left = COMPARED_TEXT
    for run in islice(expand(file), COMPARED):
        left -= len(run.config)
        if left < 0:
            break
        earlier = first.setdefault(run.id, run.number)
        if earlier != run.number:
            yield run.number, earlier


def _spell(file: ExperimentFile, run: Callable[..., Spelt]) -> Iterator[Spelt]:
    if problems := find_problems(file):
        raise Refusal(problems)
    return _spelt(file, run)


def listed(file: ExperimentFile) -> Iterator[Run]:
    """Every run of a file about which it was not asked what is wrong with it."""
    return _spelt(file, Run)


def _spelt(file: ExperimentFile, run: Callable[..., Spelt]) -> Iterator[Spelt]:
    number = count(1)
    return (
        run(next(number), name(config), index, config, seed, replicate, *born)
        for index, copies, leaf_configs, born in _groups(file)
        for config in leaf_configs
        for replicate, seed, name in copies
    )


def _groups(
    file: ExperimentFile,
) -> Iterator[tuple[int, tuple[Replicate, ...], Iterator[str], tuple[None, WarmStart] | tuple[()]]]:
    """Each group's index, its replicates, its leaf configs as canonical JSON, and a warm start, if any."""
    for index, (group, fractions) in enumerate(zip(file.groups, streams(file), strict=True), 1):
        leaf_configs = _leaf_configs(group.generator, fractions, asking(file, group))
        match group.generator:
            case Config(seed=seed, warm_start=warm) as single:
                copies = replicates(file, single.replicates, seed, warm)
            case several:
                copies, warm = replicates(file, several.replicates), None
        yield index, copies, leaf_configs, (None, warm) if warm else ()


def _leaf_configs(generator: Generator, fractions: Fractions | None, span: Span | None) -> Iterator[str]:
    match generator:
        case Config(tree):
            return leaves(tree)
        case GridSearch(tree) as grid:
            return _kept(grid) if filters(grid) else leaves(tree)
        case search:
            assert fractions is not None
            return draws(search, fractions, span)


def _kept(grid: GridSearch) -> Iterator[str]:
    from rapidfire_cli.manifest.filters.filtered_grid import (
        filtered_leaves,  # only files with filters wait for it
    )

    return filtered_leaves(grid)
