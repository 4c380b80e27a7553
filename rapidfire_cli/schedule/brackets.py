"""Which runs of a group form a bracket, and what becomes of a bracket that hears its past again."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from rapidfire_cli.manifest.counting import count
from rapidfire_cli.manifest.rungs import brackets
from rapidfire_cli.schedule.events import EpochEnded
from rapidfire_cli.stopping.decision import Decision
from rapidfire_cli.stopping.halving import HalvingRule
from rapidfire_cli.stopping.registry import Rule
from rapidfire_cli.stopping.rule import Policy
from rapidfire_cli.syntax.ast import Config, GridSearch, Group, Hyperband, RandomSearch, SuccessiveHalving


@dataclass(frozen=True, slots=True)
class BracketSpec:
    """The next `runs` runs of a group form a bracket."""

    runs: int
    rule: Rule


def bracket_specs(group: Group) -> Iterator[BracketSpec]:
    """The group's brackets in the order of its runs; none where every run trains to its end."""
    match group.generator:
        case SuccessiveHalving() | Hyperband() as search:
            mode = search.mode if isinstance(search, SuccessiveHalving) else "sync"
            for bracket in brackets(search):
                rungs = (bracket.min_epochs, search.max_epochs, search.reduction_factor)
                yield BracketSpec(bracket.runs, HalvingRule(search.metric, search.direction, *rungs, mode))
        case (GridSearch() | RandomSearch()) as search if search.early_stopping:
            yield BracketSpec(count(group), search.early_stopping)
        case Config() | GridSearch() | RandomSearch():
            pass
        case _:
            assert_never(group.generator)


@dataclass(frozen=True, slots=True)
class RunLost:
    """A run failed, or was taken out of its bracket."""

    run: int
    failed: bool


@dataclass(frozen=True, slots=True)
class RunReplaced:
    """Another run stands where this one stood, of which nothing was known."""

    run: int
    by: int


BracketEvent: TypeAlias = EpochEnded | RunLost | RunReplaced
"""What a bracket hears."""


@dataclass(slots=True)
class BracketState:
    """What a bracket has come to."""

    policy: Policy
    limits: dict[int, int]  # epochs that each run may train to
    pruned: set[int] = field(default_factory=set)  # runs that end where they are
    decisions: list[Decision] = field(default_factory=list)

    def report(self, event: BracketEvent) -> Sequence[Decision]:
        """Take in what happened, and what it decides."""
        decisions: list[Decision] = []
        match event:
            case RunReplaced(run, by):
                self.policy.replace(run, by)
                self.limits[by] = self.limits.pop(run)
            case EpochEnded(run, epoch, value):
                decisions = self.policy.report(run, epoch, value)
            case RunLost(run, failed):
                decisions = self.policy.withdraw(run, failed)
            case _:
                assert_never(event)
        for decision in decisions:
            self.decisions.append(decision)
            for verdict in decision.verdicts:
                if verdict.promoted:
                    self.limits[verdict.run] = decision.until
                else:
                    self.pruned.add(verdict.run)
        return decisions


def bracket_state(
    policy: Policy, bracket: int, goals: Mapping[int, int], past: Iterable[BracketEvent]
) -> BracketState:
    """The bracket of these runs, by number and with the epochs of each, after all that it heard."""
    found = BracketState(policy, dict.fromkeys(goals, policy.start(bracket, goals)))
    for event in past:
        found.report(event)
    return found
