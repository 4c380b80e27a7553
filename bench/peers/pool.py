"""No tool: two processes share out the runs, each trained by hand."""

import time
from functools import partial
from multiprocessing import get_context

import torch

from bench.peers.by_hand import Feed, data, loaded, sliced, train
from bench.work import PROCESSES, Outcome, Work, key


def slicing(work: Work) -> Outcome:
    """The limit: rows prepared once and stacked, batches cut from them."""
    return _shared_out(work, sliced)


def loading(work: Work) -> Outcome:
    """What most people write: a DataLoader."""
    return _shared_out(work, loaded)


def _shared_out(work: Work, feed: Feed) -> Outcome:
    torch.set_num_threads(1)
    leaves = [*map(work.leaf, work.combinations)]
    start = time.perf_counter()
    for split in data():
        feed(split, torch.arange(1), 1)  # what can be prepared is, once, before the processes part
    with get_context("fork").Pool(PROCESSES) as pool:
        figures = pool.map(partial(train, feed=feed), leaves, chunksize=1)
    return Outcome(time.perf_counter() - start, dict(zip(map(key, leaves), figures, strict=True)))
