"""What an executor can do at a mark of the training loop, and when."""

from enum import IntFlag
from pathlib import Path

from rapidfire_cli.engine.checkpoints import KEPT
from rapidfire_cli.training.live_run import LiveRun

SHORT = 0.1  # seconds: a shorter turn, or a shorter rest, is not worth switching runs (assumed)


class Next(IntFlag):
    """What to do at a mark of the training loop."""

    GO_ON = 0
    END = 1  # the turn
    STOP = 2  # as the controller asked
    SAVE = 4  # the run
    KEEP = 8  # a checkpoint of this epoch's end for good


def is_kept(run: LiveRun) -> bool:
    """Whether the end of the epoch that was just trained stays durable, for a run that starts from it."""
    if run.epoch in run.assignment.kept:
        return True
    return run.assignment.keep_next and not Path(run.assignment.directory, KEPT).is_dir()


def is_enough(seconds: float, done: int, left: int) -> bool:
    """Whether the turn so far, and the ticks left to its limit, are each long enough for one turn."""
    return seconds >= SHORT and left * seconds / done >= SHORT
