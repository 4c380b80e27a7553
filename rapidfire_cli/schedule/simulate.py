"""Run the scheduler under a simulated driver, to predict a schedule without training.

Workers never die, moving a run takes no time, and a function returns the length of each turn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TypeAlias, assert_never

from rapidfire_cli.facts import Decision, EpochEnded, Evicted, Metric, TurnEnded
from rapidfire_cli.schedule.actions import (
    Action,
    Complete,
    Decide,
    EndTurn,
    Evict,
    GiveUp,
    Leave,
    Prune,
    Replace,
    StartWorker,
    Stop,
    Train,
)
from rapidfire_cli.schedule.events import Event, NewRun, RunsAdded, WorkerReady
from rapidfire_cli.schedule.scheduler import Scheduler
from rapidfire_cli.stopping.rule import ForkingPolicy
from rapidfire_cli.terms import VALIDATION

Length: TypeAlias = Callable[[int, int], float]
"""Returns how long a run takes for a number of ticks; arguments: run number, ticks."""

ValueOf: TypeAlias = Callable[[int, int], float | None]
"""Returns the value that a run reports to its bracket after an epoch (1, 2, …); arguments: run, epoch."""

ENDLESS = 2**62  # bytes: all runs fit on one slot


@dataclass(slots=True)
class Timeline:
    """The result of a simulated schedule; times have the unit of the turns' lengths."""

    busy: list[float]  # by slot
    makespan: float = 0.0
    turns: int = 0
    moves: int = 0  # how often runs moved from one home to another
    ticks: dict[int, int] = field(default_factory=dict)  # trained, by run
    decisions: list[Decision] = field(default_factory=list)

    @property
    def idle(self) -> float:
        """The share of the slots' time in which they are idle."""
        whole = self.makespan * len(self.busy)
        return 1 - sum(self.busy) / whole if whole else 0.0

    def rungs(self) -> list[tuple[int, int, int]]:
        """Each rung's bracket and epochs, and the number of runs that reached it and were judged."""
        judged: dict[tuple[int, int], set[int]] = {}
        for decision in self.decisions:
            runs = judged.setdefault((decision.bracket, decision.epochs), set())
            runs.update(verdict.run for verdict in decision.verdicts)
        return [(*rung, len(runs)) for rung, runs in sorted(judged.items())]


class Simulation:
    """A simulation of a fit without failures; `run` plays it to the end."""

    def __init__(
        self, slots: int, length: Length, value: ValueOf, chunks: int = 1, room: int = ENDLESS, size: int = 1
    ) -> None:
        self.scheduler = Scheduler(slots, chunks)
        self.timeline = Timeline([0.0] * slots)
        self._length = length
        self._value = value
        self._chunks = chunks
        self._room = room  # bytes, of every slot
        self._size = size  # bytes, of every run
        self._homes: dict[int, Sequence[int]] = {}  # where a run trained last
        self._free = [0.0] * slots  # the end of the current turn, by slot
        self._agenda: list[tuple[float, int, Event]] = []  # future events: time, sequence number, event
        self._planned = 0
        self._taken: set[tuple[int, int, int]] = set()  # by forks: bracket, epochs, place

    def run(self, added: Sequence[RunsAdded]) -> Timeline:
        """Simulate the training of all runs and return the timeline."""
        for arrival in added:
            self.timeline.ticks.update((entry.run, entry.durable) for entry in arrival.runs)
            self._tell(arrival)
        while self._agenda:
            self.timeline.makespan, _, event = heappop(self._agenda)
            if isinstance(event, TurnEnded):
                self._end_turn(event)
            self._tell(event)
        return self.timeline

    def _end_turn(self, event: TurnEnded) -> None:
        run = event.run
        self.timeline.ticks[run] = event.at
        epoch, rest = divmod(event.at, self._chunks)
        if rest == 0:
            self._tell(EpochEnded(run, epoch, event.at, self._shown(run, epoch), 0.0))

    def _shown(self, run: int, epoch: int) -> tuple[Metric, ...]:
        """Return the run's value as the metric that its bracket compares; empty if there is none."""
        bracket, value = self.scheduler.runs[run].bracket, self._value(run, epoch)
        if bracket is None or value is None:
            return ()
        return (Metric(VALIDATION, self.scheduler.metrics[bracket], value),)

    def _tell(self, event: Event) -> None:
        for action in self.scheduler.step(event):
            self._do(action)

    def _do(self, action: Action) -> None:
        match action:
            case Train(slots, (run,), until):
                self._begin(slots, run, TurnEnded(run, slots[0], until, until, size=self._size))
            case Train(runs=runs):
                raise AssertionError(f"a turn of several runs, {runs}, which no scheduler gives")
            case StartWorker(slot):
                self._plan(self.timeline.makespan, WorkerReady(slot, self._room))
            case Evict(slots, run):
                over = max(self.timeline.makespan, *(self._free[slot] for slot in slots))
                self._plan(over, Evicted(run, self.timeline.ticks[run]))
            case Decide(decision):
                self.timeline.decisions.append(decision)
                self._fork(decision.bracket)
            case EndTurn() | Leave() | Complete() | Prune() | Stop() | GiveUp() | Replace():
                pass
            case _:
                assert_never(action)

    def _fork(self, bracket: int) -> None:
        """Have forks of the best runs, on as many slots, take the places that a population has, at once."""
        policy, runs = self.scheduler.policies[bracket], self.scheduler.runs
        for vacancy in policy.vacancies if isinstance(policy, ForkingPolicy) else ():
            if (place := (bracket, vacancy.epochs, vacancy.place)) in self._taken:
                continue
            self._taken.add(place)
            number = 1 + max(self.timeline.ticks)
            self.timeline.ticks[number] = 0
            (source, _), *_ = vacancy.sources
            entry = NewRun(number, vacancy.left * self._chunks, gang=runs[source].gang)
            self._plan(self.timeline.makespan, RunsAdded((entry,), bracket=bracket))

    def _begin(self, slots: Sequence[int], run: int, end: TurnEnded) -> None:
        length = self._length(run, end.at - self.timeline.ticks[run])
        over = self.timeline.makespan + length
        for slot in slots:
            self.timeline.busy[slot] += length
            self._free[slot] = over
        self.timeline.turns += 1
        self.timeline.moves += self._homes.get(run, slots) != slots
        self._homes[run] = slots
        self._plan(over, end)

    def _plan(self, when: float, event: Event) -> None:
        self._planned += 1
        heappush(self._agenda, (when, self._planned, event))
