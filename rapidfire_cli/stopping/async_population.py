"""Population based training without rounds: a run is judged as soon as it has trained its interval.

Jaderberg et al., "Population Based Training of Neural Networks" (2017), Algorithm 1, with truncation
selection. A run is ranked among the results that are known by then at the same epoch of the population.
Results of other epochs do not count: they would favour the runs that train fastest. No run waits for another,
so the decisions depend on the order of the results, and each says how many it knew.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import islice

from rapidfire_cli.facts import Decision, Verdict
from rapidfire_cli.stopping.decision import FAILED, Ranking, Wait, can_advance, ranked, ranking
from rapidfire_cli.stopping.population import PopulationRule
from rapidfire_cli.stopping.rule import Policy, Vacancy
from rapidfire_cli.terms import Direction


@dataclass(frozen=True, slots=True)
class AsyncPopulationRule(PopulationRule):
    """As soon as a run has trained `perturb_every` epochs, a fork may take its place; `pbt:` brings it."""

    population: int  # runs that train at the same time

    def policy(self) -> Policy:
        """The population before its first result."""
        return AsyncPopulation(self.perturb_every, self.epochs, self.forks, self.population, self.direction)

    @property
    def kind(self) -> str:
        """What views call the rule."""
        return "population without rounds"

    def known(self, decision: Decision) -> str:
        """`8 known then`."""
        return f"{decision.known} known then"


@dataclass(slots=True)
class OpenPlace:
    """A place that a fork takes."""

    instead: int  # the run that had it
    sources: tuple[tuple[int, int], ...]  # better runs, best first, and how many epochs each has trained


@dataclass(slots=True)
class Level:
    """What is known after a number of epochs of the population."""

    results: dict[int, float | None] = field(default_factory=dict)  # by run, in the order they came
    failed: set[int] = field(default_factory=set)  # runs that came no further than to the level before
    ended: set[int] = field(default_factory=set)  # runs that were judged to end here
    places: list[OpenPlace] = field(default_factory=list)  # in the order in which forks join
    joined: int = 0  # forks


@dataclass(slots=True)
class AsyncPopulation:
    """One population; what it decides depends on the order of the results, which its decisions tell."""

    perturb_every: int  # epochs
    goal: int  # epochs
    forks: int  # at each level, at most
    population: int
    direction: Direction
    bracket: int = 0
    decided: int = 0  # decisions so far
    offsets: dict[int, int] = field(default_factory=dict)  # by run, of all that ever were members
    reached: dict[int, int] = field(default_factory=dict)  # by member: its last level, or its offset
    levels: dict[int, Level] = field(default_factory=dict)  # by epochs of the population
    vacant: list[tuple[int, int]] = field(default_factory=list)  # a level and the run whose place is free

    def start(self, bracket: int, goals: Mapping[int, int]) -> int:
        """Every run trains an interval."""
        self.bracket = bracket
        self.offsets, self.reached = dict.fromkeys(goals, 0), dict.fromkeys(goals, 0)
        return min(self.perturb_every, self.goal)

    def join(self, run: int, goal: int) -> int:
        """A fork joins after the epochs that it does not train itself."""
        self.offsets[run] = self.reached[run] = offset = self.goal - goal
        self._level(offset).joined += 1
        return min(self.perturb_every, goal)

    def report(self, run: int, epoch: int, value: float | None) -> list[Decision]:
        """A result counts at the end of an interval, and is decided about at once."""
        at = self.offsets.get(run, 0) + epoch
        if run not in self.reached or at % self.perturb_every or not self.reached[run] < at < self.goal:
            return []
        self.reached[run] = at
        self._level(at).results[run] = value
        return [self._judge(run, at)]

    def replace(self, run: int, by: int) -> bool:
        """Only a member without a result can be replaced."""
        if run not in self.reached or self.reached[run] > self.offsets[run]:
            return False
        self.offsets[by], self.reached[by] = self.offsets[run], self.reached.pop(run)
        return True

    def withdraw(self, run: int, failed: bool) -> list[Decision]:
        """A failed run ranks last where it would have come next; one that was taken out leaves no place."""
        if (reached := self.reached.pop(run, None)) is None:
            return []
        at = reached + self.perturb_every
        if not failed or at >= self.goal:
            return []
        level = self._level(at)
        level.results[run] = FAILED
        level.failed.add(run)
        self.vacant.append((at, run))
        filled = self._fill(at)
        return [self._decision(at, (), filled, len(level.results) - 1)] if filled else []

    def waits(self, run: int) -> Wait | None:
        """No run waits for another."""
        return None

    def ranking(self, decision: Decision) -> Ranking:
        """The results that had come to the level by then."""
        known = islice(self.levels[decision.epochs].results.items(), decision.known)
        return ranking(dict(known), self.direction)

    @property
    def vacancies(self) -> tuple[Vacancy, ...]:
        """The places that no fork has taken yet, in the order in which forks join at each level."""
        return tuple(
            Vacancy(at, self.goal - at, place, found.instead, found.sources)
            for at, level in sorted(self.levels.items())
            for place, found in enumerate(level.places, 1)
            if place > level.joined
        )

    def may_fork(self, run: int, epoch: int) -> bool:
        """Whether forks may still be made of the run as it was after this epoch."""
        if run not in self.offsets:
            return False
        at = self.offsets[run] + epoch
        level = self.levels.get(at)
        if level is None or run not in level.results:
            return run in self.reached  # it may be about to report
        if any((run, epoch) in place.sources for place in level.places[level.joined :]):
            return True
        return self._is_open(at) and run in [source for source, _ in self._sources(at, self.forks)]

    def _level(self, at: int) -> Level:
        return self.levels.setdefault(at, Level())

    def _is_open(self, at: int) -> bool:
        """Whether a run may come to this level yet."""
        return any(reached < at for reached in self.reached.values()) or any(
            vacancy.epochs < at for vacancy in self.vacancies
        )

    def _judge(self, run: int, at: int) -> Decision:
        """Decide about the run that has just come to the level, then fill places that are free."""
        level = self.levels[at]
        order = ranked(level.results, self.direction)
        room = max(0, self.forks - len(level.places) - len(self._left(at)))
        keep = max(1, len(order) - min(self._share(level), room))
        rank, value = 1 + order.index(run), level.results[run]
        promoted = rank <= keep and can_advance(value)
        if not promoted:
            del self.reached[run]
            level.ended.add(run)
            self.vacant.append((at, run))
        return self._decision(at, (Verdict(run, value, rank, promoted),), self._fill(at), keep)

    def _share(self, level: Level) -> int:
        """How many of the results that are known are among the worst, and how many among the best."""
        return len(level.results) * self.forks // self.population

    def _left(self, at: int) -> list[tuple[int, int]]:
        """The free places that may be taken at this level."""
        return [each for each in self.vacant if each[0] <= at]

    def _fill(self, at: int) -> list[int]:
        """Open free places to forks of the best at this level; the runs that had them."""
        level = self.levels[at]
        sources = self._sources(at, max(1, self._share(level)))
        filled = self._left(at)[: self.forks - len(level.places)] if sources else []
        for each in filled:
            self.vacant.remove(each)
            level.places.append(OpenPlace(each[1], sources))
        return [run for _, run in filled]

    def _sources(self, at: int, many: int) -> tuple[tuple[int, int], ...]:
        """The best runs of the level that went on, best first, with the epochs that each had trained."""
        level = self.levels[at]
        best = ranked(level.results, self.direction)[:many]
        return tuple(
            (run, at - self.offsets[run])
            for run in best
            if run not in level.ended and can_advance(level.results[run])
        )

    def _decision(
        self, at: int, verdicts: tuple[Verdict, ...], filled: Collection[int], keep: int
    ) -> Decision:
        """The decision. It counts all that failed at this level, and those whose places it opens."""
        self.decided += 1
        level = self.levels[at]
        order = ranked(level.results, self.direction)
        failed = {run for each in self.levels.values() for run in each.failed if run in filled}
        named = [verdict.run for verdict in verdicts]
        return Decision(
            bracket=self.bracket,
            rule="population",
            rung=at // self.perturb_every,
            epochs=at,
            known=len(level.results),
            keep=keep,
            cut=level.results[order[keep - 1]],
            until=min(at + self.perturb_every, self.goal),
            verdicts=verdicts,
            failed=tuple(sorted(level.failed | failed)),
            offsets=tuple((run, self.offsets[run]) for run in named if self.offsets[run]),
        )
