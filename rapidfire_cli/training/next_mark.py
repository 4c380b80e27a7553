"""The marks of the training loop, with checks of the run's state, and what an executor can do at a mark.

A run whose state a checkpoint cannot hold must fail before work is spent on it. All of its state is checked
when it begins and after its first step, since most of what a run changes it changes in each step. This takes
0.2 ms for a small model, so it is done once for all runs of a structure. What user code can change is also
checked after the first step of every run and at the end of each tick, before an epoch is reported and before
the turn can end.
"""

from collections.abc import Iterator
from enum import IntFlag
from pathlib import Path

from rapidfire_cli.engine.checkpoints import KEPT
from rapidfire_cli.training.failure import guard_user_code
from rapidfire_cli.training.live_run import LiveRun
from rapidfire_cli.training.loop import Mark, train
from rapidfire_cli.training.state import Structure, check_changes, check_state, structure

GLANCE = 0.005  # seconds within a tick between two looks at what is due by the clock (assumed)
SHORT = 0.1  # seconds: a shorter turn, or a shorter rest, is not worth switching runs (assumed)


class Next(IntFlag):
    """What to do at a mark of the training loop."""

    GO_ON = 0
    END = 1  # the turn
    STOP = 2  # as the controller asked
    SAVE = 4  # the run
    KEEP = 8  # a checkpoint of this epoch's end for good


def marks(run: LiveRun, checked: set[Structure]) -> Iterator[Mark]:
    """Iterate the training loop's marks; structures whose state can be saved are added to `checked`.

    Raises Failure for any error inside, also for state that cannot be saved.
    """
    with guard_user_code():
        its = structure(run) if run.step == 0 else ()
        if its and its not in checked:
            check_state(run)
        for mark in train(run):
            first = run.step == 1 and mark is Mark.STEP
            if first and its and its not in checked:
                check_state(run)
                checked.add(its)
            elif first or ends_tick(run, mark):
                check_changes(run)
            yield mark


def ends_tick(run: LiveRun, mark: Mark) -> bool:
    """Whether a tick ends at this mark."""
    return mark is Mark.EPOCH or (mark is Mark.STEP and run.done in run.ends)


def is_kept(run: LiveRun) -> bool:
    """Whether the end of the epoch that was just trained stays durable, for a run that starts from it."""
    if run.epoch in run.assignment.kept:
        return True
    return run.assignment.keep_next and not Path(run.assignment.directory, KEPT).is_dir()


def is_enough(seconds: float, done: int, left: int) -> bool:
    """Whether the turn so far, and the ticks left to its limit, are each long enough for one turn."""
    return seconds >= SHORT and left * seconds / done >= SHORT
