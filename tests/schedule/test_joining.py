"""Runs that are born during a fit may join a bracket that has begun."""

import pytest

from rapidfire_cli.facts import EpochEnded, Metric, TurnEnded
from rapidfire_cli.schedule.actions import Train
from rapidfire_cli.schedule.events import NewRun, RunsAdded, WorkerReady
from rapidfire_cli.schedule.scheduler import Scheduler
from rapidfire_cli.schedule.transitions import IllegalTransition
from rapidfire_cli.stopping.halving import HalvingRule
from rapidfire_cli.stopping.patience import PatienceRule
from rapidfire_cli.stopping.rule import Policy, Rule


def begun(rule: Rule) -> tuple[Scheduler, Policy]:
    scheduler, policy = Scheduler(1, chunks=2), rule.policy()
    limit = policy.start(1, {1: 4})
    scheduler.step(RunsAdded((NewRun(1, 8, limit=limit * 2),), policy, 1, rule.metric))
    scheduler.step(WorkerReady(0, 1000))
    return scheduler, policy


def test_it_trains_as_far_as_its_bracket_lets_it():
    scheduler, _ = begun(PatienceRule("loss", "min", epochs=1))
    actions = scheduler.step(RunsAdded((NewRun(2, 8),), bracket=1))
    scheduler.step(EpochEnded(1, 1, 1, (Metric("validation", "loss", 1.0),), 0.1))
    actions += scheduler.step(TurnEnded(1, 0, 1, 1, (), 1))
    assert scheduler.runs[2].limit == 2 and scheduler.runs[2].bracket == 1
    assert any(isinstance(action, Train) and action.runs == (2,) for action in actions)


def test_no_run_joins_a_bracket_that_compares_all_its_runs_at_once_or_has_not_begun():
    scheduler, _ = begun(HalvingRule("loss", "min", 1, 4, 2, "sync"))
    for bracket in (1, 2):
        with pytest.raises(IllegalTransition, match=f"run 2 cannot join bracket {bracket}"):
            scheduler.step(RunsAdded((NewRun(2, 8),), bracket=bracket))
