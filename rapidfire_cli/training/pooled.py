"""A source of batches that data workers prepare ahead."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rapidfire_cli.engine.messages import Assignment
from rapidfire_cli.terms import TRAIN, VALIDATION, Split
from rapidfire_cli.training.batches import OUTSIDE_TRAINING, Uncached
from rapidfire_cli.training.data_pool import OTHER_ROWS, DataPool, Feed, Unusable
from rapidfire_cli.training.epoch_rows import epoch_rows
from rapidfire_cli.training.log import say
from rapidfire_cli.training.share import Share
from rapidfire_cli.training.train_config import train_config
from rapidfire_cli.training.uploads import uploaded

OTHER_GENERATORS = "another process finds other random generators that they may draw from"


class PooledRun:
    """A run's place in the pool, which the sources of its splits share."""

    def __init__(
        self, pool: DataPool, assignment: Assignment, share: Share, code: str, data: str, settings: Any
    ) -> None:
        """Record what the run's rows depend on in this process: `code`, `data` and `settings`."""
        self._pool = pool
        self._assignment = assignment
        self._share = share
        self._expected = code, data, settings
        self._key: int | None = None
        self._unusable = False
        self._sources: dict[Split, Uncached] = {}  # of the splits that data workers prepare
        self._feeds: dict[Split, Feed] = {}
        self._early: dict[Split, Feed] = {}  # the feeds that follow these
        self._epoch = 0  # the last epoch that was trained
        self._its = train_config(json.loads(assignment.config))

    def join(self, rows: Uncached) -> None:
        """Add a split whose rows are prepared by data workers."""
        self._sources[rows.split] = rows

    def feed(self, split: Split, rows: Tensor, size: int, epoch: int, first: int) -> Feed | None:
        """Return a feed of these rows; the split's previous feed is reused if exactly these rows are left.

        Returns None if data workers cannot prepare them; the run's log reports this once. Raises Failure.
        """
        if (key := self._opened()) is None:
            return None
        if split == TRAIN:
            self._epoch = epoch
        for known in (self._feeds, self._early):
            if feed := known.pop(split, None):
                if feed.continues(rows, size, epoch, first):
                    break
                feed.close()
        else:
            feed = Feed(self._pool, key, split, rows, size, epoch, first)
        feed.then = partial(self._look_ahead, key)
        self._feeds[split] = feed
        return feed

    def close(self) -> None:
        """Close the run in the pool, with all its feeds."""
        for feed in (*self._feeds.values(), *self._early.values()):
            feed.close()
        if self._key is not None:
            self._pool.close(self._key)

    def _look_ahead(self, key: int, feed: Feed) -> None:
        """Start the feeds that follow a feed whose batches are all submitted."""
        room = min(self._pool.ahead, self._pool.room) - feed.under_way
        for split, epoch in self._following(feed.split):
            early = self._early.get(split)
            if early is None or early.epoch != epoch:
                if room <= 0:
                    return
                if early:
                    early.close()
                rows, size = self._rows_of(split, epoch)
                early = Feed(self._pool, key, split, rows, size, epoch, self._share.numbered(0))
                self._early[split] = early
            early.fill(room)
            room -= early.under_way

    def _following(self, split: Split) -> Iterator[tuple[Split, int]]:
        if split == TRAIN and VALIDATION in self._sources:
            yield VALIDATION, OUTSIDE_TRAINING
        if TRAIN in self._sources and 0 < self._epoch < self._its.epochs:
            yield TRAIN, self._epoch + 1

    def _rows_of(self, split: Split, epoch: int) -> tuple[Tensor, int]:
        """The rows and the batch size that the training loop will request."""
        count = len(self._sources[split])
        rows, size = torch.arange(count, device="cpu"), self._its.eval_batch_size
        if split == TRAIN:
            rows = epoch_rows(self._its, self._assignment.seed, epoch, count, is_stream=False)
            size = self._its.batch_size
        return self._share.rows(rows, size), self._share.prepared(size)

    def _opened(self) -> int | None:
        if self._key is None and not self._unusable:
            try:
                self._key = self._open()
            except Unusable as reason:
                self._unusable = True
                say(f"rapidfire: rows are prepared without data workers: {reason}")
        return self._key

    def _open(self) -> int:
        key, opened = self._pool.open(self._assignment, self._sources)
        code, data, settings = self._expected
        generators = {split: rows.streams.own.paths for split, rows in self._sources.items()}
        if reason := (
            (_differs(code, opened.code) and "the code has changed since the worker started")
            or (data != opened.data and OTHER_ROWS)
            or (settings != opened.settings and "create_model changes settings that rows may depend on")
            or (generators != opened.generators and OTHER_GENERATORS)
        ):
            self._pool.close(key)
            raise Unusable(reason)
        return key


class Pooled:
    """A split's rows, prepared ahead by data workers."""

    def __init__(self, run: PooledRun, rows: Uncached) -> None:
        """Create the source; `rows` prepares the same batches in this process if the pool cannot."""
        self._run = run
        self._rows = rows
        run.join(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def batches(self, rows: Tensor, size: int, epoch: int, first: int = 0) -> Iterator[Any]:
        feed = self._run.feed(self._rows.split, rows, size, epoch, first)
        if feed is None:
            yield from self._rows.batches(rows, size, epoch, first)
            return
        yield from uploaded(feed, self._rows.device)


def _differs(code: str, other: str) -> bool:
    """Whether a module that both processes imported has different hashes."""
    mine, theirs = json.loads(code), json.loads(other)
    return any(mine[name] != theirs[name] for name in mine.keys() & theirs.keys())
