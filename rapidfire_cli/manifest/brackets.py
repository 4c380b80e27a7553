"""Which runs of a group form a bracket, and by which rule it compares them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from rapidfire_cli.manifest import rungs
from rapidfire_cli.manifest.counting import count, proposals
from rapidfire_cli.stopping.async_population import AsyncPopulationRule
from rapidfire_cli.stopping.halving import HalvingRule
from rapidfire_cli.stopping.population import PopulationRule
from rapidfire_cli.stopping.rule import Rule
from rapidfire_cli.syntax.ast import (
    AdaptiveSearch,
    Config,
    GridSearch,
    Group,
    Hyperband,
    Path,
    PopulationTraining,
    RandomSearch,
    SuccessiveHalving,
)


@dataclass(frozen=True, slots=True)
class BracketSpec:
    """The next `runs` runs of a group form a bracket."""

    runs: int
    rule: Rule
    at: Path  # where the file says the rule's settings


def bracket_specs(group: Group) -> Iterator[BracketSpec]:
    """The group's brackets in the order of its runs; none where every run trains to its end."""
    match group.generator:
        case SuccessiveHalving() | Hyperband() as search:
            mode = search.mode if isinstance(search, SuccessiveHalving) else "sync"
            for plan in rungs.brackets(search):
                ladder = (plan.min_epochs, search.max_epochs, search.reduction_factor)
                rule = HalvingRule(search.metric, search.direction, *ladder, mode)
                yield BracketSpec(plan.runs, rule, group.at)
        case (GridSearch() | RandomSearch()) as search if search.early_stopping:
            yield BracketSpec(count(group), search.early_stopping, (*group.at, "early_stopping"))
        case AdaptiveSearch(num_runs=runs, early_stopping=Rule() as rule):
            yield BracketSpec(runs, rule, (*group.at, "early_stopping"))
        case PopulationTraining(population=runs) as training:
            yield BracketSpec(runs + proposals(group), _population_rule(training), group.at)
        case Config() | GridSearch() | RandomSearch() | AdaptiveSearch():
            pass
        case _:
            assert_never(group.generator)


def _population_rule(training: PopulationTraining) -> Rule:
    judged = (training.metric, training.direction, training.perturb_every, training.epochs, training.forks)
    return (
        AsyncPopulationRule(*judged, training.population)
        if training.mode == "async"
        else PopulationRule(*judged)
    )
