"""The rows left over at the end of an epoch, which are dropped or form a smaller last batch.

Some models cannot train on a batch of one row, for example because of batch normalisation. So if a run's
epochs end with such a batch, it is tried on a copy of the model before training.
"""

import copy
import sys

import torch

from rapidfire_cli.terms import TRAIN
from rapidfire_cli.training import rng
from rapidfire_cli.training.failure import Failure, located
from rapidfire_cli.training.live_run import LiveRun


def check_remainder(run: LiveRun, tries: bool = True) -> None:
    """Check that the run has a batch, and that its model can train on the last one. Raises Failure.

    Prints a warning if the batch size exceeds the number of rows. Only with `tries` is the model tried; it
    must be on the device of the batches.
    """
    rows, size = len(run.batch_sources[TRAIN]), run.train.batch_size
    kept = run.train.kept(rows)
    if not kept:
        cause = f"train.drop_last leaves no batch: the train split has {rows} rows, and batch_size is {size}"
        raise Failure("error", cause, knob=("train", "drop_last"))
    if size > rows:
        print(f"rapidfire: batch_size is {size}, but the train split has only {rows} rows", file=sys.stderr)
    if tries and size > 1 and kept % size == 1 and (said := _alone(run, kept)):
        hint = "set `train.drop_last: true`, or another batch_size"
        raise Failure(
            "error",
            f"an epoch ends with a batch of one row, which fails: {said}; {hint}",
            knob=("train", "batch_size"),
        )


def _alone(run: LiveRun, kept: int) -> str | None:
    """Return the error of a forward pass over an epoch's last row, with its place; None if it succeeds."""
    try:
        spec, model = copy.deepcopy((run.spec, run.model))
    except Exception:  # the test is skipped if the model cannot be copied
        return None
    order = rng.order(run.assignment.seed, 1, len(run.batch_sources[TRAIN]))
    before, settings = rng.capture(), run.settings.changes()
    try:
        with run.settings.apart(), run.autocast():
            run.settings.repeat(settings)
            number = kept // run.train.batch_size
            batch = next(run.batch_sources[TRAIN].batches(order[kept - 1 : kept], 1, 1, number))
            spec.compute_forward(model.train(), batch, run.cfg)
    except (MemoryError, torch.OutOfMemoryError):  # because of the copy
        return None
    except Exception as error:
        return located(error)
    finally:
        rng.restore(before)
    return None
