"""Which rows an epoch trains on, in their order: a function of the seed and the epoch."""

import torch
from torch import Tensor

from rapidfire_cli.training import rng
from rapidfire_cli.training.train_config import TrainConfig


def epoch_rows(its: TrainConfig, seed: int, epoch: int, count: int, is_stream: bool) -> Tensor:
    """The rows (rows,) of `epoch` (from 1), of a split with `count` rows.

    With `steps_per_epoch`, epochs cut a sequence of passes over the split, each in an order of its own; the
    rows of a stream are numbered instead.
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
