"""A simulation is the scheduler itself, with a clock that only numbers move."""

from collections.abc import Sequence
from typing import Any

import pytest

from rapidfire_cli.facts import TurnEnded
from rapidfire_cli.schedule.events import NewRun, RunsAdded
from rapidfire_cli.schedule.simulate import Length, Simulation, Timeline
from rapidfire_cli.stopping.halving import Halving


def simulated(
    slots: int, arrivals: Sequence[RunsAdded], length: Length = lambda run, ticks: ticks, chunks: int = 1
) -> Timeline:
    return Simulation(slots, length, lambda run, epoch: run, chunks).run(arrivals)


def free(goals: Sequence[int], gangs: Sequence[int] = ()) -> RunsAdded:
    sizes = dict(enumerate(gangs, 1))
    return RunsAdded(tuple(NewRun(run, goal, gang=sizes.get(run, 1)) for run, goal in enumerate(goals, 1)))


def bracket(runs: int, levels: tuple[int, ...], goal: int) -> RunsAdded:
    policy = Halving(levels, goal, 2, "min")
    limit = policy.start(1, dict.fromkeys(range(1, runs + 1), goal))
    return RunsAdded(tuple(NewRun(run, goal, limit=limit) for run in range(1, runs + 1)), policy, 1)


def test_runs_that_fill_the_slots_leave_nothing_idle():
    timeline = simulated(4, [free([3] * 8)])
    assert (timeline.makespan, timeline.idle, timeline.busy) == (6, 0, [6, 6, 6, 6])
    assert timeline.moves == 0


def test_slots_idle_when_there_are_too_few_runs():
    timeline = simulated(4, [free([3])])
    assert (timeline.makespan, timeline.idle) == (3, 0.75)


def test_of_eight_runs_eight_train_one_epoch_four_two_two_four_one_eight():
    timeline = simulated(4, [bracket(8, (1, 2, 4), 8)])
    assert timeline.rungs() == [(1, 1, 8), (1, 2, 4), (1, 4, 2)]
    assert sorted(timeline.ticks.values()) == [1, 1, 1, 1, 2, 2, 4, 8]
    assert sum(timeline.busy) == 20
    assert timeline.makespan == 2 + 1 + 2 + 4


def test_turn_lengths_may_come_from_what_epochs_took_before():
    took = {1: 5.0, 2: 1.0}
    timeline = simulated(2, [free([2, 2])], lambda run, ticks: took[run] * ticks)
    assert timeline.makespan == 10
    assert sorted(timeline.busy) == [2, 10]


def test_chunks_cut_turns_and_not_what_is_trained():
    timeline = simulated(1, [bracket(1, (), 8)], lambda run, ticks: ticks / 4, chunks=4)
    assert (timeline.turns, timeline.makespan) == (8, 2)


def test_a_waiting_run_moves_to_a_slot_that_would_idle():
    timeline = simulated(2, [free([1, 1, 9, 9, 9])], lambda run, ticks: 1 + (run == 2))
    assert timeline.moves > 0
    assert timeline.idle < 0.2


@pytest.mark.parametrize("gangs", [(2, 2, 1, 1), (3, 1, 1, 1), (2, 3, 1, 2)])
def test_gangs_keep_pace_with_single_runs(gangs):
    timeline = simulated(6, [free([4] * 4, gangs)])
    assert timeline.ticks == dict.fromkeys((1, 2, 3, 4), 4)


class Watched(Simulation):
    """Notes when each run's turns begin."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.begun: dict[int, list[float]] = {}

    def _begin(self, slots: Sequence[int], run: int, end: TurnEnded) -> None:
        self.begun.setdefault(run, []).append(self.timeline.makespan)
        super()._begin(slots, run, end)


@pytest.mark.parametrize("gang", [2, 3, 4])
def test_a_gang_gets_its_turns_though_single_runs_never_cease_to_wait(gang):
    simulation = Watched(4, lambda run, ticks: 1.0 + run % 3 / 7, lambda run, epoch: None)
    simulation.run([free([6] * 20, [1] * 10 + [gang])])
    for turn, begun in enumerate(simulation.begun[11]):
        later = [turns[turn + 2] for turns in simulation.begun.values() if turn + 2 < len(turns)]
        assert all(begun < other for other in later), "another run was two turns ahead"


@pytest.mark.no_cover
def test_a_large_sweep_is_simulated_by_the_rules():
    goals = [3 + run % 7 for run in range(2000)]
    timeline = simulated(50, [free(goals)], lambda run, ticks: 1 + run % 3)
    assert timeline.turns == sum(goals)
    assert timeline.idle < 0.05
