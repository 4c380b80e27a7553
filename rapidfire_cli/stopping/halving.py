"""Successive halving, synchronous: a rung decides when all its entrants have shown what they are worth.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (2018), Algorithm 1.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from rapidfire_cli.facts import Decision, Verdict
from rapidfire_cli.stopping.asha import AsyncHalving
from rapidfire_cli.stopping.decision import (
    FAILED,
    Ranking,
    Results,
    Wait,
    can_advance,
    number,
    ranked,
    ranking,
)
from rapidfire_cli.stopping.ladder import Ladder
from rapidfire_cli.stopping.rule import Policy, Rule
from rapidfire_cli.terms import Direction


@dataclass(frozen=True, slots=True)
class HalvingRule(Rule):
    """The best 1/`reduction_factor` of each rung go on; `sha:` and `hyperband:` bring it."""

    min_epochs: int  # of the first rung
    max_epochs: int
    reduction_factor: int
    mode: Literal["sync", "async"] = "sync"

    def policy(self) -> Policy:
        """The bracket, with or without barriers."""
        kind = AsyncHalving if self.mode == "async" else Halving
        return kind(self.ladder.levels, self.max_epochs, self.reduction_factor, self.direction)

    @property
    def ladder(self) -> Ladder:
        """The rungs of the bracket."""
        return Ladder(self.min_epochs, self.max_epochs, self.reduction_factor, self.mode)

    def passed(self, decision: Decision, verdict: Verdict) -> str:
        """`with 0.71, rank 3 of 8`."""
        known = f" of {decision.known}" + (" known then" if self.mode == "async" else "")
        return f"with {number(verdict.value)}, rank {verdict.rank}{known}"

    def ended(self, decision: Decision, verdict: Verdict) -> str:
        """`top5_accuracy 0.71, rank 5 of 8, cut after rank 4 (0.78)`."""
        value = self.named(verdict.value)
        return f"{value}, rank {verdict.rank} of {decision.known}, {self._cut(decision, verdict)}"

    def _cut(self, decision: Decision, verdict: Verdict) -> str:
        """Why this rank was not enough."""
        if not can_advance(verdict.value):
            return "a missing value is never promoted" if verdict.value is None else "NaN is never promoted"
        if verdict.rank <= decision.keep:
            return "but others had been promoted before it"
        ties = "; ties go to the lower run number" if verdict.value == decision.cut else ""
        known = " of the results known then" if self.mode == "async" else ""
        return f"cut after rank {decision.keep} ({number(decision.cut)}){known}{ties}"


@dataclass(slots=True)
class Halving:
    """One bracket. Its decisions are a function of the results alone, whatever order they come in."""

    levels: tuple[int, ...]  # epochs
    goal: int  # epochs
    factor: int
    direction: Direction
    bracket: int = 0
    rung: int = 0  # decided so far
    entrants: set[int] = field(default_factory=set)  # of the open rung
    awaited: set[int] = field(default_factory=set)  # entrants without a result
    failed: set[int] = field(default_factory=set)  # entrants
    results: Results = field(default_factory=dict)  # at levels that are not decided

    def start(self, bracket: int, goals: Mapping[int, int]) -> int:
        """Every run enters the first rung."""
        self.bracket = bracket
        self._enter(goals)
        return self._limit()

    def report(self, run: int, epoch: int, value: float | None) -> list[Decision]:
        """A result counts at its level, as soon as its rung is open."""
        if run not in self.entrants or epoch not in self.levels[self.rung :]:
            return []
        self.results.setdefault(epoch, {}).setdefault(run, value)
        if epoch == self._limit():
            self.awaited.discard(run)
        return self._decisions()

    def replace(self, run: int, by: int) -> bool:
        """Only an entrant of the first rung may be without a result."""
        if self.rung > 0 or run not in self.awaited:
            return False
        for runs in (self.entrants, self.awaited):
            runs.remove(run)
            runs.add(by)
        return True

    def withdraw(self, run: int, failed: bool) -> list[Decision]:
        """A failed run still counts among the entrants; one that was taken out does not."""
        if run not in self.entrants:
            return []
        self.awaited.discard(run)
        (self.failed.add if failed else self.entrants.discard)(run)
        return self._decisions()

    def waits(self, run: int) -> Wait | None:
        """Every entrant waits until the last one has a result."""
        if run not in self.entrants or self.rung == len(self.levels):
            return None
        known = len(self.entrants) - len(self.awaited)
        return Wait(self.rung + 1, self._limit(), known, len(self.entrants))

    def ranking(self, decision: Decision) -> Ranking:
        """A rung's decision names every entrant."""
        values = {verdict.run: verdict.value for verdict in decision.verdicts}
        return ranking(values | dict.fromkeys(decision.failed, FAILED), self.direction)

    def _limit(self) -> int:
        return self.levels[self.rung] if self.rung < len(self.levels) else self.goal

    def _enter(self, runs: Iterable[int]) -> None:
        self.entrants, self.failed = set(runs), set()
        self.awaited = self.entrants - self.results.get(self._limit(), {}).keys()

    def _decisions(self) -> list[Decision]:
        decisions = []
        while self.entrants and not self.awaited and self.rung < len(self.levels):
            decisions.append(self._decide())
        return decisions

    def _decide(self) -> Decision:
        level = self._limit()
        results = self.results.pop(level, {})
        values = {run: FAILED if run in self.failed else results[run] for run in self.entrants}
        order = ranked(values, self.direction)
        keep = max(1, len(order) // self.factor)
        survivors = [run for run in order[:keep] if can_advance(values[run])]
        failed = self.failed
        self.rung += 1
        self._enter(survivors)
        return Decision(
            bracket=self.bracket,
            rule="halving",
            rung=self.rung,
            epochs=level,
            known=len(order),
            keep=keep,
            cut=values[order[keep - 1]],
            until=self._limit(),
            verdicts=tuple(
                Verdict(run, values[run], rank, run in self.entrants)
                for rank, run in enumerate(order, 1)
                if run not in failed
            ),
            failed=tuple(sorted(failed)),
        )
