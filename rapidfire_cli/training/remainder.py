"""The end of an epoch: rows that fill no batch, which are dropped or make a last batch of their own.

Some models cannot train on a batch of one row: normalisation over a batch has nothing to normalise. So a run
whose epochs would end with such a batch tries it on a copy of its model before it trains.
"""

import copy
import sys

import torch

from rapidfire_cli.terms import TRAIN
from rapidfire_cli.training import rng
from rapidfire_cli.training.failure import Failure, located
from rapidfire_cli.training.live_run import LiveRun


def check_remainder(run: LiveRun) -> None:
    """Raises Failure where the run has no batch, or a last one on which its model cannot train.

    Prints what is odd about a batch that has room for more rows than there are.
    """
    rows, size = len(run.batch_sources[TRAIN]), run.train.batch_size
    kept = run.train.kept(rows)
    if not kept:
        cause = f"train.drop_last leaves no batch: the train split has {rows} rows, and batch_size is {size}"
        raise Failure("error", cause, knob=("train", "drop_last"))
    if size > rows:
        print(f"rapidfire: batch_size is {size}, but the train split has only {rows} rows", file=sys.stderr)
    if size > 1 and kept % size == 1 and (said := _alone(run, kept)):
        hint = "set `train.drop_last: true`, or another batch_size"
        raise Failure(
            "error",
            f"an epoch ends with a batch of one row, which fails: {said}; {hint}",
            knob=("train", "batch_size"),
        )


def _alone(run: LiveRun, kept: int) -> str | None:
    """What a forward pass over an epoch's last row raises, with its place; None where it passes."""
    try:
        spec, model = copy.deepcopy((run.spec, run.model))
    except Exception:  # what cannot be copied is not tried
        return None
    order = rng.order(run.assignment.seed, 1, len(run.batch_sources[TRAIN]))
    before, settings = rng.capture(), run.settings.changes()
    try:
        with run.settings.apart(), run.autocast():
            run.settings.repeat(settings)
            number = kept // run.train.batch_size
            batch = next(run.batch_sources[TRAIN].batches(order[kept - 1 : kept], 1, 1, number))
            spec.compute_forward(model.train(), batch, run.cfg)
    except (MemoryError, torch.OutOfMemoryError):  # of the copy
        return None
    except Exception as error:
        return located(error)
    finally:
        rng.restore(before)
    return None
