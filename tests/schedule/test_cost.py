"""A decision costs O(log runs): counted in calls, since a clock would tell of the machine's mood."""

import sys
from types import FrameType
from typing import Literal

import pytest

from rapidfire_cli.schedule.events import NewRun, RunsAdded
from rapidfire_cli.schedule.simulate import Simulation, Timeline
from rapidfire_cli.stopping.bracket import bracket_state
from rapidfire_cli.stopping.halving import HalvingRule

FEW, MANY = 60, 3000  # runs
SLOTS = {FEW: 3, MANY: 150}


def trained(runs: int, mode: str) -> Timeline:
    simulation = Simulation(SLOTS[runs], lambda run, ticks: 1 + run % 7 / 7, lambda run, _: run * 7919 % runs)
    return simulation.run([free(runs) if mode == "free" else bracket(runs, mode)])


def free(runs: int) -> RunsAdded:
    return RunsAdded(tuple(NewRun(run, 3) for run in range(1, runs + 1)))


def bracket(runs: int, mode: Literal["sync", "async"]) -> RunsAdded:
    rule = HalvingRule("loss", "min", 1, 9, 3, mode)
    begun = bracket_state(rule, 1, dict.fromkeys(range(1, runs + 1), rule.max_epochs), ())
    entries = tuple(NewRun(run, rule.max_epochs, limit=limit) for run, limit in begun.limits.items())
    return RunsAdded(entries, begun.policy, 1, rule.metric)


def calls_per_turn(runs: int, mode: str) -> float:
    """Calls of Python and C functions, a generator's every step among them, by turns handed out."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        timeline = trained(runs, mode)
    finally:
        sys.setprofile(None)
    return calls / timeline.turns


@pytest.mark.no_cover
@pytest.mark.parametrize("mode", ["free", "sync", "async"])
def test_fifty_times_the_runs_cost_a_turn_hardly_more_calls(mode):
    assert calls_per_turn(MANY, mode) < 1.5 * calls_per_turn(FEW, mode)
