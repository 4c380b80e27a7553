"""Population based training: after each round of epochs, forks of the best runs replace the worst ones.

Jaderberg et al., "Population Based Training of Neural Networks" (2017): truncation selection, in rounds. A
fork counts its own epochs from 0, so the epochs of the population are those of a run and its *offset*, the
epochs that its weights had been trained before.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rapidfire_cli.facts import Decision, Verdict
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
from rapidfire_cli.stopping.rule import Policy, Rule, Vacancy
from rapidfire_cli.terms import Direction


@dataclass(frozen=True, slots=True)
class PopulationRule(Rule):
    """After every `perturb_every` epochs, forks take the places of the worst runs; `pbt:` brings it."""

    perturb_every: int
    epochs: int  # of every run, with those that its weights had been trained before
    forks: int  # after each round

    def policy(self) -> Policy:
        """The population before its first round."""
        return Population(self.perturb_every, self.epochs, self.forks, self.direction)

    def passed(self, decision: Decision, verdict: Verdict) -> str:
        """`with 0.71, rank 3 of 8`."""
        return f"with {number(verdict.value)}, rank {verdict.rank} of {self.known(decision)}"

    def ended(self, decision: Decision, verdict: Verdict) -> str:
        """`top5_accuracy 0.71, rank 7 of 8, cut after rank 6 (0.78)`."""
        told = f"{self.named(verdict.value)}, rank {verdict.rank} of {self.known(decision)}"
        if not can_advance(verdict.value):
            return (
                f"{told}, a missing value is never promoted"
                if verdict.value is None
                else f"{told}, NaN is never promoted"
            )
        ties = "; ties go to the lower run number" if verdict.value == decision.cut else ""
        return f"{told}, cut after rank {decision.keep} ({number(decision.cut)}){ties}"

    @property
    def kind(self) -> str:
        """What views call the rule."""
        return "population in rounds"

    def known(self, decision: Decision) -> str:
        """How many results a decision knew."""
        return f"{decision.known}"


@dataclass(slots=True)
class Population:
    """One population. Its decisions are a function of the results alone, whatever order they come in."""

    perturb_every: int  # epochs
    goal: int  # epochs
    forks: int  # after each round
    direction: Direction
    bracket: int = 0
    level: int = 0  # epochs of the population after which it decides next
    members: set[int] = field(default_factory=set)
    offsets: dict[int, int] = field(default_factory=dict)  # by run, of all that ever were members
    failed: set[int] = field(default_factory=set)  # members
    results: Results = field(default_factory=dict)  # at levels that are not decided
    joined: dict[int, int] = field(default_factory=dict)  # forks, by their offset
    open: tuple[int, ...] = ()  # runs whose places forks are to take, those taken already included
    vacant: tuple[int, ...] = ()  # runs whose places are left to a later round
    best: tuple[int, ...] = ()  # the runs to fork, best first

    def start(self, bracket: int, goals: Mapping[int, int]) -> int:
        """Every run trains a round."""
        self.bracket, self.level = bracket, self.perturb_every
        self.members, self.offsets = set(goals), dict.fromkeys(goals, 0)
        return min(self.level, self.goal)

    def join(self, run: int, goal: int) -> int:
        """A fork joins after the epochs that it does not train itself."""
        self.offsets[run] = offset = self.goal - goal
        self.members.add(run)
        self.joined[offset] = self.joined.get(offset, 0) + 1
        return min(self.perturb_every, goal)

    def report(self, run: int, epoch: int, value: float | None) -> list[Decision]:
        """A result counts at the end of a round."""
        at = self.offsets.get(run, 0) + epoch
        if run not in self.members or at % self.perturb_every or not self.level <= at < self.goal:
            return []
        self.results.setdefault(at, {}).setdefault(run, value)
        return [*self._decisions()]

    def replace(self, run: int, by: int) -> bool:
        """Only a member without a result can be replaced."""
        if run not in self.members or any(run in each for each in self.results.values()):
            return False
        if self.level > self.offsets[run] + self.perturb_every:
            return False
        self.members.remove(run)
        self.members.add(by)
        self.offsets[by] = self.offsets[run]
        return True

    def withdraw(self, run: int, failed: bool) -> list[Decision]:
        """A failed run ranks last, so a fork takes its place; one that was taken out leaves no place."""
        if run not in self.members:
            return []
        (self.failed.add if failed else self.members.discard)(run)
        return [*self._decisions()]

    def waits(self, run: int) -> Wait | None:
        """Every member waits until the last one has ended the round."""
        entrants = self._entrants()
        if run not in entrants or self.level >= self.goal:
            return None
        known = entrants & (self.results.get(self.level, {}).keys() | self.failed)
        every = len(entrants) + len(self.vacancies)
        return Wait(self.level // self.perturb_every, self.level, len(known), every, "round")

    def ranking(self, decision: Decision) -> Ranking:
        """A decision names every member."""
        values = {verdict.run: verdict.value for verdict in decision.verdicts}
        return ranking(values | dict.fromkeys(decision.failed, FAILED), self.direction)

    @property
    def decided(self) -> int:
        """How many decisions were taken."""
        return self.level // self.perturb_every - 1

    def may_fork(self, run: int, epoch: int) -> bool:
        """Whether forks may still be made of the run as it was after this epoch."""
        return self.offsets.get(run, 0) + epoch >= self.level - self.perturb_every

    @property
    def vacancies(self) -> tuple[Vacancy, ...]:
        """The places that no fork has taken yet, in the order in which forks join."""
        at = self.level - self.perturb_every
        sources = tuple((run, at - self.offsets[run]) for run in self.best)
        taken = self.joined.get(at, 0)
        return tuple(
            Vacancy(at, self.goal - at, place, run, sources)
            for place, run in enumerate(self.open, 1)
            if place > taken
        )

    def _entrants(self) -> set[int]:
        """The members that are to end the present round."""
        return {run for run in self.members if self.offsets[run] < self.level}

    def _decisions(self) -> Iterator[Decision]:
        while self.level < self.goal and not self.vacancies and (entrants := self._entrants()):
            if entrants - self.failed - self.results.get(self.level, {}).keys():
                return
            yield self._decide(entrants)

    def _decide(self, entrants: set[int]) -> Decision:
        """The worst end, and as many forks of the best take their places, those of former rounds first."""
        level, results = self.level, self.results.pop(self.level, {})
        values = {run: FAILED if run in self.failed else results[run] for run in entrants}
        order = ranked(values, self.direction)
        keep = max(1, len(order) - max(0, self.forks - len(self.vacant)))
        ended = [run for place, run in enumerate(order) if place >= keep or not can_advance(values[run])]
        self.best = tuple(run for run in order[: self.forks] if run not in ended)
        places = (*self.vacant, *ended)
        many = self.forks if self.best else 0
        self.open, self.vacant = places[:many], places[many:]
        failed = tuple(sorted(self.failed & entrants))
        self.members -= {*ended}
        self.failed -= {*ended}
        self.level += self.perturb_every
        return Decision(
            bracket=self.bracket,
            rule="population",
            rung=level // self.perturb_every,
            epochs=level,
            known=len(order),
            keep=keep,
            cut=values[order[keep - 1]],
            until=min(self.level, self.goal),
            verdicts=tuple(
                Verdict(run, values[run], rank, run in self.members)
                for rank, run in enumerate(order, 1)
                if run not in failed
            ),
            failed=failed,
            offsets=tuple((run, self.offsets[run]) for run in order if self.offsets[run]),
        )
