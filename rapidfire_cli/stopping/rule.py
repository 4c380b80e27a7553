"""What an early-stopping rule is.

A rule is one file of this folder and one line of the registry. The file holds

- its *settings*, a frozen dataclass: each field says what a file may write, its default and what it is for;
- its *policy*, a machine that the bracket's results go into and decisions come out of. It has no clock, no
  randomness and no I/O, so that hearing the same results in the same order again gives the same decisions;
- what it says about a verdict, and what a run waits for.

Everything else derives from these: the grammar of `early_stopping:`, its JSON Schema, the hints of `check`,
what the journal keeps of a rule, what `why` says and what `replay` checks. No other module looks inside a
rule or a policy.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from rapidfire_cli.facts import Decision, Verdict
from rapidfire_cli.shapes import DIRECTION, METRIC, Shape
from rapidfire_cli.stopping.decision import Ranking, Wait, number
from rapidfire_cli.stopping.ladder import Ladder
from rapidfire_cli.terms import Direction


class Policy(Protocol):
    """A rule at work: decides for the runs of one bracket how far each may train."""

    def start(self, bracket: int, goals: Mapping[int, int]) -> int:
        """Take in the bracket's number and its runs' epochs, once; how many each may train at first."""

    def report(self, run: int, epoch: int, value: float | None) -> list[Decision]:
        """Take in the metric of a finished epoch; hearing it again changes nothing.

        A run may be further than it was allowed to train, when the rule changed or a decision was lost.
        """

    def replace(self, run: int, by: int) -> bool:
        """Let another run stand where this one does, if it has no result yet; whether that was so."""

    def withdraw(self, run: int, failed: bool) -> list[Decision]:
        """Take in that the run ended before its time: it failed, or it was taken out of the bracket."""

    def waits(self, run: int) -> Wait | None:
        """Return what a run that may not train on waits for; None where it waits for no other run."""

    def ranking(self, decision: Decision) -> Ranking:
        """All that a decision knew, the runs that it names among it; ask right after it was taken.

        A decision does not hold it: where nobody waits for a rung, that would be n² values.
        """


@runtime_checkable
class OpenPolicy(Policy, Protocol):
    """A policy whose runs need not all be known from the start, as that of every rule with a word."""

    def join(self, run: int, goal: int) -> int:
        """Take in one more run and its epochs; how many it may train at first."""


@dataclass(frozen=True, slots=True)
class Vacancy:
    """A place in a population that a fork is to take."""

    epochs: int  # that the population has trained: 1, 2, …
    left: int  # that the fork trains: 1, 2, …
    place: int  # among the forks of that moment: 1, 2, …
    instead: int  # the run that had the place
    sources: tuple[tuple[int, int], ...]  # better runs, best first, and how many epochs each has trained


@runtime_checkable
class ForkingPolicy(OpenPolicy, Protocol):
    """A policy that has forks take the places of runs that it ends."""

    @property
    def decided(self) -> int:
        """How many decisions were taken; only a decision changes of what forks are made."""

    def may_fork(self, run: int, epoch: int) -> bool:
        """Whether forks may still be made of the run as it was after this epoch of its own."""

    @property
    def vacancies(self) -> tuple[Vacancy, ...]:
        """The places that no fork has taken yet; those of one moment in the order in which forks join."""


def setting(shape: Shape, about: str) -> Mapping[str, Any]:
    """The metadata of a field that files set: what it may be, and what it is for."""
    return {"shape": shape, "about": about}


@dataclass(frozen=True, slots=True)
class Rule(ABC):
    """The settings of a rule. Journals keep them under the name of their class and of their fields."""

    word: ClassVar[str | None] = None
    """What `rule:` says under `early_stopping:`; None where a generator brings the rule."""

    metric: str = field(metadata=setting(METRIC, "the metric that runs are judged by"))
    direction: Direction = field(metadata=setting(DIRECTION, "whether lower (min) or higher (max) is better"))

    @abstractmethod
    def policy(self) -> Policy:
        """The rule before it has heard anything."""

    @abstractmethod
    def passed(self, decision: Decision, verdict: Verdict) -> str:
        """Say what let a run go on: `with 0.71, rank 3 of 8`."""

    @abstractmethod
    def ended(self, decision: Decision, verdict: Verdict) -> str:
        """Say in one line why a run ended: `loss 0.4, rank 5 of 8, cut after rank 4 (0.3)`."""

    @property
    def kind(self) -> str:
        """What views call the rule: `median rule`."""
        return f"{self.word} rule"

    @property
    def ladder(self) -> Ladder | None:
        """The rungs that all its runs come to; None where it judges a run at an epoch of its own."""
        return None

    def assumed(self, run: int, _epoch: int) -> float:
        """What a dry run takes for the metric after an epoch: of two runs the lower number is better."""
        return run if self.direction == "min" else -run

    def named(self, value: float | None) -> str:
        """The value with its metric's name: `loss 0.31`."""
        return f"no {self.metric}" if value is None else f"{self.metric} {number(value)}"
