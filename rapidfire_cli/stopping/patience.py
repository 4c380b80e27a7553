"""Patience: a run ends when its metric has not improved for some epochs, whatever the other runs do.

The same as `EarlyStopping` of Keras and Lightning. The first number is the best so far. A later one is an
improvement if it is better than the best by more than `min_delta`, and only then becomes the best. A run
ends at the `epochs`-th epoch in a row without an improvement. NaN and a missing value are no improvement
(Lightning ends a run at NaN at once, unless `check_finite=False`). The default of 3 epochs is Lightning's;
Keras' is 0.

A run cannot end before its best epoch is `epochs` epochs old, so it may train that far. There one decision is
taken, instead of one per epoch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from rapidfire_cli.facts import Decision, Verdict
from rapidfire_cli.shapes import Integer, Number
from rapidfire_cli.stopping.decision import Ranking, Wait, number, ranking
from rapidfire_cli.stopping.rule import Policy, Rule, setting
from rapidfire_cli.terms import Direction


@dataclass(frozen=True, slots=True)
class PatienceRule(Rule):
    """A run ends when its metric has not improved by more than `min_delta` for `epochs` epochs."""

    word = "patience"

    epochs: int = field(
        default=3, metadata=setting(Integer(1), "a run ends after this many epochs without an improvement")
    )
    min_delta: float = field(
        default=0.0, metadata=setting(Number(least=0), "a smaller or equal change is not an improvement")
    )

    def policy(self) -> Policy:
        """The bracket before it has heard anything."""
        return Patience(self.epochs, self.min_delta, self.direction)

    def passed(self, decision: Decision, verdict: Verdict) -> str:
        """`with best loss 0.31 at epoch 2`."""
        return f"with best {self.named(verdict.value)} at epoch {decision.until - self.epochs}"

    def ended(self, decision: Decision, verdict: Verdict) -> str:
        """`no improvement on loss since epoch 4 (best 0.31)`."""
        if verdict.value is None:
            first = "first epoch" if decision.epochs == 1 else f"first {decision.epochs} epochs"
            return f"its {self.metric} was not a number in the {first}"
        least = f" of more than {number(self.min_delta)}" if self.min_delta else ""
        since = decision.epochs - self.epochs
        return f"no improvement{least} on {self.metric} since epoch {since} (best {number(verdict.value)})"

    def assumed(self, run: int, epoch: int) -> float:
        """A dry run assumes that every epoch improves, so that every run trains to its end."""
        gained = epoch * (2 * self.min_delta + 1)
        return -gained if self.direction == "min" else gained


@dataclass(slots=True)
class Progress:
    """How far a run is."""

    goal: int  # epochs
    limit: int  # epochs that it may train before it is judged
    heard: int = 0  # epochs
    best: float | None = None  # None before the first number
    at: int = 0  # the epoch of the best


@dataclass(slots=True)
class Patience:
    """One bracket. What it decides about a run follows from that run's results alone."""

    epochs: int  # without an improvement
    min_delta: float
    direction: Direction
    bracket: int = 0
    runs: dict[int, Progress] = field(default_factory=dict)  # that are not over

    def start(self, bracket: int, goals: Mapping[int, int]) -> int:
        """No run ends before it has trained for `epochs` epochs."""
        self.bracket = bracket
        self.runs = {run: Progress(goal, self.epochs) for run, goal in goals.items()}
        return self.epochs

    def join(self, run: int, goal: int) -> int:
        """Take in the run, which is compared only with itself."""
        self.runs[run] = Progress(goal, self.epochs)
        return self.epochs

    def report(self, run: int, epoch: int, value: float | None) -> list[Decision]:
        """Note an improvement; judge the run where it may train no further."""
        found = self.runs.get(run)
        if found is None or epoch != found.heard + 1:
            return []
        found.heard = epoch
        if value is not None and self._gain(value, found.best) > self.min_delta:
            found.best, found.at = value, epoch
        return [self._judge(run, found)] if found.limit == epoch < found.goal else []

    def replace(self, run: int, by: int) -> bool:
        """Every epoch is a result."""
        if run not in self.runs or self.runs[run].heard:
            return False
        self.runs[by] = self.runs.pop(run)
        return True

    def withdraw(self, run: int, failed: bool) -> list[Decision]:
        """Nobody was compared with it."""
        self.runs.pop(run, None)
        return []

    def waits(self, run: int) -> Wait | None:
        """No run waits for another."""
        return None

    def ranking(self, decision: Decision) -> Ranking:
        """The best value of the run."""
        return ranking({verdict.run: verdict.value for verdict in decision.verdicts}, self.direction)

    def _gain(self, value: float, best: float | None) -> float:
        """By how much the value is better; NaN, which is above nothing, where that cannot be said."""
        worst = math.inf if self.direction == "min" else -math.inf
        before = worst if best is None else best
        return before - value if self.direction == "min" else value - before

    def _judge(self, run: int, found: Progress) -> Decision:
        until = found.at + self.epochs
        goes_on = until > found.heard
        found.limit = until
        if not goes_on:
            del self.runs[run]
        return Decision(
            bracket=self.bracket,
            rule="patience",
            rung=found.heard - self.epochs + 1,
            epochs=found.heard,
            known=1,
            keep=int(goes_on),
            cut=None,
            until=until,
            verdicts=(Verdict(run, found.best, 1, goes_on),),
        )
