"""What another setting of successive halving would have made of curves that were recorded.

Nothing is trained, so a value may be missing: a run that was cut showed no more. Its last value is taken in
place of it, and what rests on that is told.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rapidfire_cli.schedule.events import NewRun, RunsAdded
from rapidfire_cli.schedule.simulate import Length, Simulation, Timeline
from rapidfire_cli.stopping.bracket import bracket_state
from rapidfire_cli.stopping.decision import FAILED, can_advance, ranked
from rapidfire_cli.stopping.halving import HalvingRule


@dataclass(frozen=True, slots=True)
class Curve:
    """What a run showed, epoch by epoch; one that failed shows no more."""

    values: tuple[float | None, ...]
    failed: bool = False

    def knows(self, epoch: int) -> bool:
        """Whether it is known what the run shows after this epoch (1, 2, …)."""
        return self.failed or epoch <= len(self.values)

    def at(self, epoch: int) -> float | None:
        """What the run shows after this epoch, else what it showed last."""
        if epoch <= len(self.values):
            return self.values[epoch - 1]
        return FAILED if self.failed or not self.values else self.values[-1]


@dataclass(frozen=True, slots=True)
class Step:
    """A rung of the replay."""

    rung: int  # 1, 2, …
    epochs: int
    runs: tuple[int, ...]  # that come to it
    promoted: tuple[int, ...]
    unknown: tuple[int, ...]  # those of the runs whose last value stands for one that nobody saw


@dataclass(frozen=True, slots=True)
class Replay:
    """One bracket by another setting."""

    rule: HalvingRule
    curves: Mapping[int, Curve]  # by run
    timeline: Timeline  # in the unit of the turns' lengths
    instead: str | None = None  # the word of another rule, which ended these runs

    @property
    def epochs(self) -> dict[int, int]:
        """What each run trains; a failed one no further than it did."""
        return {
            run: min(epochs, len(self.curves[run].values)) if self.curves[run].failed else epochs
            for run, epochs in self.timeline.ticks.items()
        }

    @property
    def chosen(self) -> int | None:
        """The best of those that train to the end."""
        ended = [run for run, epochs in self.timeline.ticks.items() if epochs == self.rule.max_epochs]
        values = {run: self.curves[run].at(self.rule.max_epochs) for run in ended}
        best = ranked(values, self.rule.direction)[:1]
        return best[0] if best and can_advance(values[best[0]]) else None

    @property
    def unknown(self) -> set[int]:
        """The runs of which a value was needed that nobody saw."""
        ended = {run for run, epochs in self.timeline.ticks.items() if epochs == self.rule.max_epochs}
        last = {run for run in ended if not self.curves[run].knows(self.rule.max_epochs)}
        return last.union(*(step.unknown for step in self.steps()))

    def steps(self) -> Iterator[Step]:
        """Its rungs, in order."""
        for rung, epochs in sorted({(each.rung, each.epochs) for each in self.timeline.decisions}):
            here = [each for each in self.timeline.decisions if each.rung == rung]
            runs = tuple(run for run, trained in self.timeline.ticks.items() if trained >= epochs)
            promoted = {verdict.run for each in here for verdict in each.verdicts if verdict.promoted}
            unknown = tuple(run for run in runs if not self.curves[run].knows(epochs))
            yield Step(rung, epochs, runs, tuple(sorted(promoted)), unknown)


def replay(
    rule: HalvingRule, curves: Mapping[int, Curve], slots: int, length: Length, instead: str | None = None
) -> Replay:
    """The bracket of these runs by this rule; `length` is how long a run takes for so many epochs."""
    goals = dict.fromkeys(curves, rule.max_epochs)
    begun = bracket_state(rule, 1, goals, ())
    entries = tuple(NewRun(run, goal, limit=begun.limits[run]) for run, goal in goals.items())
    simulation = Simulation(slots, length, lambda run, epoch: curves[run].at(epoch))
    return Replay(rule, curves, simulation.run([RunsAdded(entries, begun.policy, 1, rule.metric)]), instead)
