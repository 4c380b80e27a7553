"""Successive halving without barriers (ASHA): a run goes on as soon as it is in the top 1/η of its rung.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (2018), Algorithm 2. The runs are given
from the start, so a rung closes when nobody can enter it any more; then those who are not promoted end.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from rapidfire_cli.facts import Decision, Verdict
from rapidfire_cli.stopping.decision import FAILED, Ranking, Results, Wait, can_advance, ranking, sort_key
from rapidfire_cli.terms import Direction

Place: TypeAlias = tuple[tuple[int, float], int, float | None]
"""A result in its rung: merit, run, value."""


@dataclass(slots=True)
class RungState:
    """Who has entered, and what is known of them."""

    awaited: set[int] = field(default_factory=set)  # entrants without a result
    results: dict[int, float | None] = field(default_factory=dict)  # by run, in the order they came
    places: list[Place] = field(default_factory=list)  # the same, best first
    promoted: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)  # entrants; they rank last
    closed: bool = False


@dataclass(slots=True)
class AsyncHalving:
    """One bracket; what it decides depends on the order of the results, which its decisions tell."""

    levels: tuple[int, ...]  # epochs
    goal: int  # epochs
    factor: int
    direction: Direction
    bracket: int = 0
    rungs: tuple[RungState, ...] = ()
    early: Results = field(default_factory=dict)  # of runs that have not come to that rung

    def start(self, bracket: int, goals: Mapping[int, int]) -> int:
        """Every run enters the first rung."""
        self.bracket = bracket
        self.rungs = tuple(RungState() for _ in self.levels)
        if self.rungs:
            self.rungs[0].awaited.update(goals)
        return self._until(-1)

    def report(self, run: int, epoch: int, value: float | None) -> list[Decision]:
        """A result counts at its level; one that comes before its run has entered is kept until then."""
        if epoch not in self.levels:
            return []
        index = self.levels.index(epoch)
        if run in self.rungs[index].awaited:
            return [*self._place(index, run, value)]
        if run not in self.rungs[index].results:
            self.early.setdefault(epoch, {}).setdefault(run, value)
        return []

    def replace(self, run: int, by: int) -> bool:
        """Only an entrant of the first rung may be without a result."""
        if not self.rungs or run not in self.rungs[0].awaited:
            return False
        self.rungs[0].awaited.remove(run)
        self.rungs[0].awaited.add(by)
        return True

    def withdraw(self, run: int, failed: bool) -> list[Decision]:
        """A failed run ranks last where it stands; one that was taken out stands nowhere."""
        index = self._standing(run)
        if index is None:
            return []
        rung = self.rungs[index]
        rung.awaited.discard(run)
        if run in rung.results:
            place = _placed(run, rung.results.pop(run), self.direction)
            del rung.places[bisect_left(rung.places, place)]
        if failed:
            rung.failed.add(run)
            return [*self._place(index, run, FAILED)]
        return [*self._closings()]

    def waits(self, run: int) -> Wait | None:
        """A run waits where it has a result that is not in the top 1/η yet, and the rung is open."""
        for number, rung in enumerate(self.rungs, 1):
            if run in rung.results and run not in rung.promoted and not rung.closed:
                known = len(rung.places)
                return Wait(number, self.levels[number - 1], known, known + len(rung.awaited))
        return None

    def ranking(self, decision: Decision) -> Ranking:
        """The results that had come to the rung by then."""
        known = islice(self.rungs[decision.rung - 1].results.items(), decision.known)
        return ranking(dict(known), self.direction)

    def _standing(self, run: int) -> int | None:
        """The rung that the run has entered and not passed."""
        for index, rung in enumerate(self.rungs):
            if run in rung.awaited or (run in rung.results and run not in rung.promoted):
                return index
        return None

    def _until(self, index: int) -> int:
        """How far those who pass the rung may train."""
        return self.levels[index + 1] if index + 1 < len(self.levels) else self.goal

    def _place(self, index: int, run: int, value: float | None) -> Iterator[Decision]:
        """Promote who is in the top 1/η now; close the rungs that nobody enters any more."""
        rung = self.rungs[index]
        rung.awaited.discard(run)
        newest = _placed(run, value, self.direction)
        rung.results[run] = value
        insort(rung.places, newest)
        yield from self._promotions(index, newest)
        yield from self._closings()

    def _promotions(self, index: int, newest: Place) -> Iterator[Decision]:
        """Only the newest, or the one at the cut, can have come into the top: the others were there."""
        rung = self.rungs[index]
        keep = len(rung.places) // self.factor
        if keep:
            cut = rung.places[keep - 1]
            top = {place[1]: place for place in (newest, cut) if place <= cut}
            passing = [
                place for run, place in top.items() if can_advance(place[2]) and run not in rung.promoted
            ]
            if passing:
                yield from self._decision(index, keep, passing)

    def _closings(self) -> Iterator[Decision]:
        for index, rung in enumerate(self.rungs):
            if rung.awaited:
                return
            if not rung.closed:
                rung.closed = True
                yield from self._close(index)

    def _close(self, index: int) -> Iterator[Decision]:
        rung = self.rungs[index]
        keep = max(1, len(rung.places) // self.factor)
        gone = rung.promoted | rung.failed
        waiting = [place for place in rung.places if place[1] not in gone]
        open_ranks = max(0, keep - len(rung.promoted))  # early promotions may have taken some
        passing = [place for place in waiting[:open_ranks] if can_advance(place[2])]
        if waiting:
            yield from self._decision(index, keep, passing, waiting[len(passing) :], earlier=index)

    def _decision(
        self, index: int, keep: int, passing: Sequence[Place], ending: Sequence[Place] = (), earlier: int = 0
    ) -> Iterator[Decision]:
        """The decision, and what follows where it lets pass whose next result is known already.

        Those who failed at this rung count, and at so many `earlier` ones that are closed.
        """
        rung = self.rungs[index]
        runs = [run for _, run, _ in passing]
        rung.promoted.update(runs)
        if index + 1 < len(self.rungs):
            self.rungs[index + 1].awaited.update(runs)
        counted = self.rungs[index - earlier : index + 1]
        yield Decision(
            bracket=self.bracket,
            rule="async",
            rung=index + 1,
            epochs=self.levels[index],
            known=len(rung.places),
            keep=keep,
            cut=rung.places[min(keep, len(rung.places)) - 1][2],
            until=self._until(index),
            verdicts=(*_verdicts(rung, passing, True), *_verdicts(rung, ending, False)),
            failed=tuple(sorted(set[int]().union(*(each.failed for each in counted)))),
        )
        early = self.early.get(self._until(index), {})
        for run in [run for run in runs if run in early]:
            yield from self._place(index + 1, run, early.pop(run))


def _placed(run: int, value: float | None, direction: Direction) -> Place:
    return sort_key(value, direction), run, value


def _verdicts(rung: RungState, places: Iterable[Place], promoted: bool) -> Iterator[Verdict]:
    for place in places:
        _, run, value = place
        yield Verdict(run, value, bisect_left(rung.places, place) + 1, promoted)
