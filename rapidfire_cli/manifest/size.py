"""Count the leaves of value sets exactly, without building them."""

from collections.abc import Callable, Iterable
from math import prod
from typing import TypeAlias, assert_never

from rapidfire_cli.manifest.interval import points
from rapidfire_cli.manifest.rungs import brackets
from rapidfire_cli.manifest.template import Axis, axes
from rapidfire_cli.syntax.ast import (
    AdaptiveSearch,
    Hyperband,
    List,
    PopulationTraining,
    RandomSearch,
    Range,
    SuccessiveHalving,
    Tree,
)

Search: TypeAlias = RandomSearch | SuccessiveHalving | Hyperband | AdaptiveSearch | PopulationTraining
"""The generators that draw."""


def asked(search: Search) -> int:
    """How many distinct draws the search asks for."""
    match search:
        case RandomSearch(num_runs=num_runs) | SuccessiveHalving(num_runs=num_runs):
            return num_runs
        case Hyperband():
            return sum(bracket.runs for bracket in brackets(search)) // search.replicates
        case AdaptiveSearch(num_runs=num_runs):
            return min(num_runs, startup(search))
        case PopulationTraining(population=population):
            return population
    assert_never(search)


def budget(search: Search) -> int:
    """How many distinct leaf configs the search needs: those drawn, and those proposed later."""
    return search.num_runs if isinstance(search, AdaptiveSearch) else asked(search)


def startup(search: AdaptiveSearch) -> int:
    """The number of runs to draw before any is proposed; the defaults are those of Optuna."""
    return search.startup or (10 if search.sampler in ("tpe", "gp") else 1)


def number_key(search: Search) -> str:
    """The argument that says how many draws there are."""
    match search:
        case Hyperband():
            return "max_epochs"
        case PopulationTraining():
            return "population"
        case RandomSearch() | SuccessiveHalving() | AdaptiveSearch():
            return "num_runs"
    assert_never(search)


def size(tree: Tree) -> int | None:
    """How many leaves the tree has; None when a Range is continuous.

    Axes multiply and a list's alternatives add up, so conditional knobs count as a sum of products.
    """
    return _combined(prod, map(length, axes(tree)))


def length(axis: Axis) -> int | None:
    """How many values an axis takes; None for a continuum."""
    match axis:
        case ((_, Range() as interval),):
            return points(interval)
        case _:
            lists = [values.values for _, values in axis if isinstance(values, List)]
            together = (_combined(prod, map(size, values)) for values in zip(*lists, strict=True))
            return _combined(sum, together)


def _combined(combine: Callable[[Iterable[int]], int], sizes: Iterable[int | None]) -> int | None:
    known = []
    for one in sizes:
        if one is None:
            return None
        known.append(one)
    return combine(known)
