"""Replay recorded curves under other settings of successive halving, without training.

Values may be missing, because a pruned run has no later ones. Then the run's last value is used instead, and
the results that depend on it are marked as unknown.
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
    """The values of a run, epoch by epoch; a failed run has no further values."""

    values: tuple[float | None, ...]
    failed: bool = False

    def knows(self, epoch: int) -> bool:
        """Whether the run's value after this epoch (1, 2, …) is known."""
        return self.failed or epoch <= len(self.values)

    def at(self, epoch: int) -> float | None:
        """Return the run's value after this epoch, or else its last value."""
        if epoch <= len(self.values):
            return self.values[epoch - 1]
        return FAILED if self.failed or not self.values else self.values[-1]


@dataclass(frozen=True, slots=True)
class Step:
    """A rung of the replay."""

    rung: int  # 1, 2, …
    epochs: int
    runs: tuple[int, ...]  # the runs that reach it
    promoted: tuple[int, ...]
    unknown: tuple[int, ...]  # the runs whose last value replaces a missing one


@dataclass(frozen=True, slots=True)
class Replay:
    """The replay of one bracket under another setting."""

    rule: HalvingRule
    curves: Mapping[int, Curve]  # by run
    timeline: Timeline  # in the time unit of the turns' lengths
    instead: str | None = None  # the name of a different rule under which these runs were recorded

    @property
    def epochs(self) -> dict[int, int]:
        """The epochs that each run trains; a failed run trains no more than it did."""
        return {
            run: min(epochs, len(self.curves[run].values)) if self.curves[run].failed else epochs
            for run, epochs in self.timeline.ticks.items()
        }

    @property
    def chosen(self) -> int | None:
        """The best run among those that train to the end; None if there is none."""
        ended = [run for run, epochs in self.timeline.ticks.items() if epochs == self.rule.max_epochs]
        values = {run: self.curves[run].at(self.rule.max_epochs) for run in ended}
        best = ranked(values, self.rule.direction)[:1]
        return best[0] if best and can_advance(values[best[0]]) else None

    @property
    def unknown(self) -> set[int]:
        """The runs for which a missing value was needed."""
        ended = {run for run, epochs in self.timeline.ticks.items() if epochs == self.rule.max_epochs}
        last = {run for run in ended if not self.curves[run].knows(self.rule.max_epochs)}
        return last.union(*(step.unknown for step in self.steps()))

    def steps(self) -> Iterator[Step]:
        """Yield the rungs of the replay, in order."""
        for rung, epochs in sorted({(each.rung, each.epochs) for each in self.timeline.decisions}):
            here = [each for each in self.timeline.decisions if each.rung == rung]
            runs = tuple(run for run, trained in self.timeline.ticks.items() if trained >= epochs)
            promoted = {verdict.run for each in here for verdict in each.verdicts if verdict.promoted}
            unknown = tuple(run for run in runs if not self.curves[run].knows(epochs))
            yield Step(rung, epochs, runs, tuple(sorted(promoted)), unknown)


def replay(
    rule: HalvingRule, curves: Mapping[int, Curve], slots: int, length: Length, instead: str | None = None
) -> Replay:
    """Replay the bracket of these runs under this rule; `length` returns a run's time for its epochs."""
    goals = dict.fromkeys(curves, rule.max_epochs)
    begun = bracket_state(rule, 1, goals, ())
    entries = tuple(NewRun(run, goal, limit=begun.limits[run]) for run, goal in goals.items())
    simulation = Simulation(slots, length, lambda run, epoch: curves[run].at(epoch))
    return Replay(rule, curves, simulation.run([RunsAdded(entries, begun.policy, 1, rule.metric)]), instead)
