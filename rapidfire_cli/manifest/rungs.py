"""Rungs: at which epochs successive halving decides, how many runs reach them, and what that costs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rapidfire_cli.stopping.ladder import levels
from rapidfire_cli.syntax.ast import Bracketed, Hyperband, SuccessiveHalving


@dataclass(frozen=True, slots=True)
class BracketPlan:
    """So many runs, replicates included, the best of which pass each rung on their way to `max_epochs`."""

    runs: int
    min_epochs: int  # of the first rung
    levels: tuple[int, ...]  # the rungs' epochs; all below max_epochs, where nothing is left to decide


@dataclass(frozen=True, slots=True)
class Rung:
    """How many runs of a bracket train up to an epoch."""

    bracket: int  # 1, 2, …
    epochs: int
    runs: int


@dataclass(frozen=True, slots=True)
class RunEpochs:
    """Epochs over all runs, if none fails or is stopped by the user."""

    least: int
    most: int  # more than the least only where runs are promoted without waiting
    uncut: int  # if every run trained to the end


def brackets(search: Bracketed) -> tuple[BracketPlan, ...]:
    """The brackets in the order of their runs, which the group's draws fill one after the other."""
    most, factor = search.max_epochs, search.reduction_factor
    if isinstance(search, SuccessiveHalving):
        first = search.min_epochs * factor**search.min_early_stopping_rate
        return (BracketPlan(search.num_runs * search.replicates, first, levels(first, most, factor)),)
    return tuple(
        BracketPlan(runs * search.replicates, first, levels(first, most, factor))
        for runs, first in _sizes(search)
    )


def rungs(search: Bracketed) -> tuple[Rung, ...]:
    """The ladder of each bracket, up to `max_epochs`, with the runs that a full rung lets pass."""
    return tuple(
        Rung(number, epochs, runs)
        for number, bracket in enumerate(brackets(search), 1)
        for epochs, runs in zip(_goals(bracket, search), _fewest(bracket, search), strict=True)
    )


def run_epochs(search: Bracketed) -> RunEpochs:
    """What the ladders cost."""
    waits = not (isinstance(search, SuccessiveHalving) and search.mode == "async")
    every = brackets(search)
    least = sum(_cost(_goals(each, search), _fewest(each, search)) for each in every)
    most = least if waits else sum(_cost(_goals(each, search), _utmost(each, search)) for each in every)
    return RunEpochs(least, most, sum(each.runs for each in every) * search.max_epochs)


def _sizes(search: Hyperband) -> Iterator[tuple[int, int]]:
    """Each bracket's n = ⌈(s_max + 1) · η^s / (s + 1)⌉ and r = ⌈R · η^-s⌉ for s = s_max, …, 0.

    Li et al., "Hyperband" (2018), Algorithm 1. Epochs are whole, so r is rounded up, with which bracket s has
    its s rungs for every R.
    """
    factor, most = search.reduction_factor, search.max_epochs
    last = len(levels(search.min_epochs, most + 1, factor)) - 1
    for s in range(last, -1, -1):
        yield -(-(last + 1) * factor**s // (s + 1)), -(-most // factor**s)


def _goals(bracket: BracketPlan, search: Bracketed) -> tuple[int, ...]:
    return (*bracket.levels, search.max_epochs)


def _fewest(bracket: BracketPlan, search: Bracketed) -> Iterator[int]:
    """The entrants of each goal when a rung of n lets max(1, ⌊n/η⌋) pass."""
    runs = bracket.runs
    for _ in _goals(bracket, search):
        yield runs
        runs = max(1, runs // search.reduction_factor)


def _utmost(bracket: BracketPlan, search: Bracketed) -> Iterator[int]:
    """The entrants of each goal when results only improve: one that passes a rung beat η - 1 others."""
    runs = bracket.runs
    for _ in _goals(bracket, search):
        yield runs
        runs = max(1, runs - search.reduction_factor + 1)


def _cost(goals: Sequence[int], entrants: Iterator[int]) -> int:
    starts = (0, *goals)
    return sum((goal - start) * runs for goal, start, runs in zip(goals, starts, entrants, strict=False))
