"""A bracket: what it hears, and what it has come to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from rapidfire_cli.facts import (
    Decision,
    EpochEnded,
    RunChanged,
    RunJoined,
    RunLeft,
    RunReplaced,
    compared_value,
)
from rapidfire_cli.stopping.rule import OpenPolicy, Policy, Rule

BracketEvent: TypeAlias = EpochEnded | RunChanged | RunJoined | RunLeft | RunReplaced
"""The facts that a bracket takes in; of changes, only that a run failed."""


@dataclass(slots=True)
class BracketState:
    """What a bracket has come to."""

    policy: Policy
    metric: str  # that the policy compares
    limits: dict[int, int]  # epochs that each run may train to
    pruned: set[int] = field(default_factory=set)  # runs that end where they are
    decisions: list[Decision] = field(default_factory=list)

    def report(self, event: BracketEvent) -> Sequence[Decision]:
        """Take in what happened, and what it decides."""
        decisions: list[Decision] = []
        match event:
            case RunReplaced(run, by) if not by.is_apart:
                self.policy.replace(run, by.number)
                self.limits[by.number] = self.limits.pop(run)
            case RunJoined(run, epochs=goal):
                assert isinstance(self.policy, OpenPolicy)
                self.limits[run] = self.policy.join(run, goal)
            case EpochEnded(run, epoch):
                value = compared_value(event.metrics, self.metric)
                decisions = self.policy.report(run, epoch, value)
            case RunChanged(run) | RunReplaced(run):
                decisions = self.policy.withdraw(run, failed=True)
            case RunLeft(run) if run in self.pruned:  # what was decided about it stays
                pass
            case RunLeft(run, worst=worst):
                decisions = self.policy.withdraw(run, failed=worst)
            case _:
                assert_never(event)
        for decision in decisions:
            self.decisions.append(decision)
            for verdict in decision.verdicts:
                if verdict.promoted:
                    self.limits[verdict.run] = decision.limit(verdict.run)
                else:
                    self.pruned.add(verdict.run)
        return decisions


def bracket_state(
    rule: Rule, bracket: int, goals: Mapping[int, int], past: Iterable[BracketEvent]
) -> BracketState:
    """The bracket of these runs, by number and with the epochs of each, after all that it heard."""
    begun = rule.policy()
    found = BracketState(begun, rule.metric, dict.fromkeys(goals, begun.start(bracket, goals)))
    for event in past:
        found.report(event)
    return found
