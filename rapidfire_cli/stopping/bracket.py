"""A bracket: what it hears, and what it has come to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from rapidfire_cli.stopping.decision import Decision
from rapidfire_cli.stopping.rule import Policy


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """A run finished an epoch (1, 2, …); `value` is its bracket's metric, None where it has none."""

    run: int
    epoch: int
    value: float | None = None


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
