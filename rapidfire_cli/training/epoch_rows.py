"""The order of an epoch's training rows, as a function of the seed and the epoch."""

import torch
from torch import Tensor

from rapidfire_cli.training import rng
from rapidfire_cli.training.train_config import TrainConfig


def epoch_rows(its: TrainConfig, seed: int, epoch: int, count: int, is_stream: bool) -> Tensor:
    """Return the indices (rows,) on which `epoch` (from 1) trains, in order, for a split with `count` rows.

    With `steps_per_epoch`, epochs are consecutive parts of a sequence of passes over the split; each pass has
    its own order. The rows of a stream are numbered consecutively instead.
    """
    kept = its.kept(count)
    if its.steps_per_epoch is None:
        return rng.order(seed, epoch, count)[:kept]
    begin = (epoch - 1) * kept
    if is_stream:
        return torch.arange(begin, begin + kept, device="cpu")
    first, last = begin // count, (begin + kept - 1) // count
    passes = torch.cat([rng.order(seed, each + 1, count) for each in range(first, last + 1)])
    return passes[begin - first * count :][:kept]
