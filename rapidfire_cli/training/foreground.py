"""Train one run in the foreground, for debugging: without a worker, a log or other runs.

Errors of user code are not caught, and the standard streams and other settings of the process stay unchanged,
so `breakpoint()` works.
"""

import time
from collections.abc import Callable

from rapidfire_cli.engine.messages import Assignment, Finding, Preparation, Setup
from rapidfire_cli.facts import EpochEnded
from rapidfire_cli.training import device, spec
from rapidfire_cli.training.live_run import LiveRun
from rapidfire_cli.training.loop import Mark, train
from rapidfire_cli.training.opening import opened, prepares, shared
from rapidfire_cli.training.preparing import prepare
from rapidfire_cli.training.shadowing import forbid
from rapidfire_cli.training.spec import SpecProblem


def train_here(
    setup: Setup, assignment: Assignment, order: Preparation, tell: Callable[[EpochEnded], None]
) -> Finding | None:
    """Train the run to its end and save nothing; return the problem that prevents its start, if any.

    Raises what user code raises.
    """
    forbid()
    device.prepare(setup)
    try:
        known = shared(setup, spec.load(setup.mlspec))
    except SpecProblem as problem:
        return problem.finding
    if prepares(known.spec) and (failed := prepare(order, known)):
        return failed
    _to_the_end(opened(assignment, known), tell)
    return None


def _to_the_end(run: LiveRun, tell: Callable[[EpochEnded], None]) -> None:
    run.enter()
    began = time.monotonic()
    for mark in train(run):
        now = time.monotonic()
        run.pass_time(now - began)
        began = now
        if mark is Mark.EPOCH:
            tell(run.record_epoch())
        if run.ticks >= run.goal:
            break
