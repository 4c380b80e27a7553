"""The median rule: a run ends when its best result so far is worse than the median of the others' averages.

Golovin et al., "Google Vizier: A Service for Black-Box Optimization" (2017), section 3.2.2.
"""

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from rapidfire_cli.facts import Decision, Verdict
from rapidfire_cli.shapes import Integer
from rapidfire_cli.stopping.decision import Ranking, Wait, can_advance, number, ranking, sort_key
from rapidfire_cli.stopping.rule import Policy, Rule, setting
from rapidfire_cli.terms import Direction

Average: TypeAlias = tuple[float, int]
"""Of a run's results up to an epoch, and the run."""


@dataclass(frozen=True, slots=True)
class MedianRule(Rule):
    """A run ends when its best result is worse than the median of the others' averages."""

    word = "median"

    min_epochs: int = field(default=1, metadata=setting(Integer(1), "the first epoch at which a run can end"))

    def policy(self) -> Policy:
        """The bracket before it has heard anything."""
        return Median(self.min_epochs, self.direction)

    def passed(self, decision: Decision, verdict: Verdict) -> str:
        """`with 0.71, rank 3 of 8`."""
        return f"with {number(verdict.value)}, rank {verdict.rank} of {decision.known}"

    def ended(self, decision: Decision, verdict: Verdict) -> str:
        """`best loss 0.4 so far, worse than 0.3, the median of the averages of 5 other runs`."""
        if decision.cut is None or not self._worse(verdict.value, decision.cut):
            return f"it has no {self.metric}" if verdict.value is None else f"its {self.metric} became NaN"
        median = f"the median of the averages of {decision.known - 1:,} other runs"
        return f"best {self.named(verdict.value)} so far, worse than {number(decision.cut)}, {median}"

    def _worse(self, value: float | None, cut: float) -> bool:
        return can_advance(value) and sort_key(value, self.direction) > sort_key(cut, self.direction)


@dataclass(slots=True)
class Median:
    """One bracket; what it decides depends on the order of the results, which its decisions tell."""

    minimum: int  # epochs before which nobody ends
    direction: Direction
    others: int = 3  # averages that must be known before anybody ends (assumed)
    bracket: int = 0
    goals: dict[int, int] = field(default_factory=dict)  # epochs, by run
    heard: dict[int, tuple[float, ...]] = field(default_factory=dict)  # each run's results, epoch by epoch
    averages: dict[int, list[Average]] = field(default_factory=dict)  # by epoch, sorted

    def start(self, bracket: int, goals: Mapping[int, int]) -> int:
        """Every epoch from the first that counts is a rung."""
        self.bracket = bracket
        self.goals = dict(goals)
        self.heard = dict.fromkeys(goals, ())
        return self.minimum

    def join(self, run: int, goal: int) -> int:
        """The run is judged by what is known by then."""
        self.goals[run], self.heard[run] = goal, ()
        return self.minimum

    def report(self, run: int, epoch: int, value: float | None) -> list[Decision]:
        """Judge the run by what is known of its epoch now, then let it count for the others."""
        heard = self.heard.get(run)
        if heard is None or epoch != len(heard) + 1:
            return []
        self.heard[run] = results = (*heard, math.nan if value is None else value)
        judged = [self._judge(run, results)] if self.minimum <= epoch < self.goals[run] else []
        self._count(run, results)
        return judged

    def replace(self, run: int, by: int) -> bool:
        """Every epoch is a result."""
        if self.heard.get(run) != ():
            return False
        del self.heard[run]
        self.heard[by], self.goals[by] = (), self.goals.pop(run)
        return True

    def withdraw(self, run: int, failed: bool) -> list[Decision]:
        """Its averages stay: they are true of the epochs it trained."""
        self.heard.pop(run, None)
        return []

    def waits(self, run: int) -> Wait | None:
        """Every run is judged at once."""
        return None

    def ranking(self, decision: Decision) -> Ranking:
        """The judged run's best result among the others' averages."""
        values = {run: average for average, run in self.averages.get(decision.epochs, ())}
        return ranking(values | {verdict.run: verdict.value for verdict in decision.verdicts}, self.direction)

    def _count(self, run: int, results: Sequence[float]) -> None:
        average = sum(results) / len(results)
        if math.isfinite(average):
            insort(self.averages.setdefault(len(results), []), (average, run))

    def _judge(self, run: int, results: Sequence[float]) -> Decision:
        known = self.averages.get(len(results), [])
        cut = _middle(known) if len(known) >= self.others else None
        best = min(results, key=self._sort_key)
        passes = can_advance(results[-1]) and (cut is None or self._sort_key(best) <= self._sort_key(cut))
        if not passes:
            del self.heard[run]
        return Decision(
            bracket=self.bracket,
            rule="median",
            rung=len(results) - self.minimum + 1,
            epochs=len(results),
            known=len(known) + 1,
            keep=(len(known) + 1) // 2,
            cut=cut,
            until=len(results) + 1,
            verdicts=(Verdict(run, best, 1 + self._better(best, known), passes),),
        )

    def _sort_key(self, value: float) -> tuple[int, float]:
        return sort_key(value, self.direction)

    def _better(self, best: float, known: Sequence[Average]) -> int:
        """How many of the others' averages are better."""
        if math.isnan(best):
            return len(known)
        if self.direction == "min":
            return bisect_left(known, (best, 0))  # runs are numbered from 1
        return len(known) - bisect_right(known, (best, math.inf))


def _middle(ordered: Sequence[Average]) -> float:
    return (ordered[(len(ordered) - 1) // 2][0] + ordered[len(ordered) // 2][0]) / 2
