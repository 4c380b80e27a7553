"""How many runs a file and its groups have."""

from typing import assert_never

from rapidfire_cli.manifest.filters.filter import filters
from rapidfire_cli.manifest.size import asked, budget, size
from rapidfire_cli.syntax.ast import (
    AdaptiveSearch,
    Config,
    ExperimentFile,
    GridSearch,
    Group,
    Hyperband,
    PopulationTraining,
    RandomSearch,
    SuccessiveHalving,
)


def total(file: ExperimentFile) -> int:
    """How many runs the file lists before anything is trained."""
    return sum(count(group) for group in file.groups)


def planned(file: ExperimentFile) -> int:
    """How many runs a fit of the file trains: those that it lists, and those that are born during the fit."""
    return total(file) + sum(map(proposals, file.groups))


def proposals(group: Group) -> int:
    """How many runs are born while others train, at most: proposals of a search, forks of a population."""
    match group.generator:
        case AdaptiveSearch() as search:
            return budget(search) - asked(search)
        case PopulationTraining(rounds=rounds, forks=forks):
            return rounds * forks
        case Config() | GridSearch() | RandomSearch() | SuccessiveHalving() | Hyperband():
            return 0
    assert_never(group.generator)


def count(group: Group) -> int:
    """How many runs the group has. Raises ValueError for a grid over a continuous range."""
    return distinct(group) * group.generator.replicates


def distinct(group: Group) -> int:
    """Return the number of leaf configs of the group after its filters."""
    match group.generator:
        case Config():
            return 1
        case GridSearch() as grid:
            return _kept(grid) if filters(grid) else everything(grid)
        case search:
            return asked(search)


def _kept(grid: GridSearch) -> int:
    from rapidfire_cli.manifest.filters.counts import filter_counts  # only files with filters wait for it

    return filter_counts(grid).kept


def everything(grid: GridSearch) -> int:
    """How many leaf configs a grid has before its filters."""
    leaves = size(grid.tree)
    if leaves is None:
        raise ValueError("a grid holds no continuous Range")
    return leaves
