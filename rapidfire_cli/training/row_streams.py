"""Randomness of rows: each row is prepared with generators that are seeded for it alone.

Theory of operation. A row that draws random numbers must not depend on which rows were prepared before it, by
which process, or how often. So before a row is prepared, Python's, NumPy's and torch's global generators and
those that were found on the MLSpec and on the dataset are seeded from the run's seed, the epoch, the split
and the row's index; before rows are collated, from the batch's number. Around both, the streams that the
model draws from are put aside. Rows of the validation split leave the epoch out: every epoch is measured on
the same rows. Rows are prepared on one thread of torch, as the number of threads may decide how a sum is
rounded.

To redo a row by hand, take `value = derive(seed, "train row 17 epoch 3")` (or "validation row 17", or "train
batch 2 epoch 3"), then `random.seed(value)`, `np.random.seed(value % 2**32)` and `torch.manual_seed(value)`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from rapidfire_cli.terms import TRAIN, Split
from rapidfire_cli.training import rng
from rapidfire_cli.training.generators import Generators

THREADS: Final = 1


class RowStreams:
    """Seeds all generators that rows of one split can draw from; `own` are those of user code."""

    def __init__(self, seed: int, split: Split, own: Generators) -> None:
        self.seed = seed
        self.split = split
        self.own = own

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Prepare rows inside; afterwards every generator is where it was before."""
        streams, own, threads = rng.capture(), self.own.states(), torch.get_num_threads()
        torch.set_num_threads(THREADS)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            self.own.restore(own)
            rng.restore(streams)

    def row(self, index: int, epoch: int) -> None:
        """Seed for a row of `epoch` (from 1); measured: 12 µs, and 30 more for each generator of its own."""
        self._begin("row", index, epoch)

    def batch(self, number: int, epoch: int) -> None:
        """Seed for joining the rows of a batch, by its number in the epoch from 0."""
        self._begin("batch", number, epoch)

    def _begin(self, what: str, number: int, epoch: int) -> None:
        when = f" epoch {epoch}" if self.split == TRAIN else ""
        value = rng.derive(self.seed, f"{self.split} {what} {number}{when}")
        rng.seed_all(value)
        self.own.reseed(value)
