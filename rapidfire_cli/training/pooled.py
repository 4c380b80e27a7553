"""A source of batches that data workers prepare ahead."""

import json
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from rapidfire_cli.engine.messages import Assignment
from rapidfire_cli.terms import Split
from rapidfire_cli.training.batches import Uncached
from rapidfire_cli.training.data_pool import OTHER_ROWS, DataPool, Feed, Unusable
from rapidfire_cli.training.log import say
from rapidfire_cli.training.uploads import uploaded


class PooledRun:
    """A run's place in the pool, which the sources of its splits share."""

    def __init__(self, pool: DataPool, assignment: Assignment, code: str, data: str, settings: Any) -> None:
        """`code`, `data` and `settings` are what its rows depend on in this process."""
        self._pool = pool
        self._assignment = assignment
        self._expected = code, data, settings
        self._key: int | None = None
        self._unusable = False
        self._feeds: dict[Split, Feed] = {}

    def feed(self, split: Split, rows: Tensor, size: int, epoch: int, first: int) -> Feed | None:
        """The batches of these rows: where they are what was left of the split's last ones, the same feed.

        None where data workers cannot prepare them, which the run's log then says once. Raises Failure.
        """
        if (key := self._opened()) is None:
            return None
        feed = self._feeds.get(split)
        if feed is None or not feed.continues(rows, size, epoch, first):
            if feed:
                feed.close()
            feed = self._feeds[split] = Feed(self._pool, key, split, rows, size, epoch, first)
        return feed

    def close(self) -> None:
        """The run is gone."""
        for feed in self._feeds.values():
            feed.close()
        if self._key is not None:
            self._pool.close(self._key)

    def _opened(self) -> int | None:
        if self._key is None and not self._unusable:
            try:
                self._key = self._open()
            except Unusable as reason:
                self._unusable = True
                say(f"rapidfire: rows are prepared without data workers: {reason}")
        return self._key

    def _open(self) -> int:
        key, opened = self._pool.open(self._assignment)
        code, data, settings = self._expected
        if reason := (
            (_differs(code, opened.code) and "the code has changed since the worker started")
            or (data != opened.data and OTHER_ROWS)
            or (settings != opened.settings and "create_model changes settings that rows may depend on")
        ):
            self._pool.close(key)
            raise Unusable(reason)
        return key


class Pooled:
    """A split's rows, prepared ahead by data workers."""

    def __init__(self, run: PooledRun, rows: Uncached) -> None:
        """`rows` prepares them in this process, with the same results."""
        self._run = run
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def batches(self, rows: Tensor, size: int, epoch: int, first: int = 0) -> Iterator[Any]:
        feed = self._run.feed(self._rows.split, rows, size, epoch, first)
        if feed is None:
            yield from self._rows.batches(rows, size, epoch, first)
            return
        yield from uploaded(feed, self._rows.device)


def _differs(code: str, other: str) -> bool:
    """Whether a module that both processes have imported has another hash."""
    mine, theirs = json.loads(code), json.loads(other)
    return any(mine[name] != theirs[name] for name in mine.keys() & theirs.keys())
