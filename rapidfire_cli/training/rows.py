"""Prepared rows: prepared once, cached within a memory limit, and shared by runs that would prepare the same.

Rows are cached only if that does not change any result. To find out, an instance of the MLSpec that trains no
run prepares a sample of the split twice. Rows are prepared again in every epoch if they draw random numbers
(also from generators of user code), if the second result differs, or if they exceed the space in memory and
on disk (`disk_rows`). The outcome is remembered, so that only the first of several similar runs does this
test.

Rows of the validation split that draw random numbers are cached too: they are the same in every epoch of a
run (`row_streams`), and in every run with the same seed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias
from weakref import ref

import torch

from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.terms import TRAIN
from rapidfire_cli.training.batches import BatchSource, Cached, Row, Stacked
from rapidfire_cli.training.data_pool import DataPool
from rapidfire_cli.training.datasets import Loaded
from rapidfire_cli.training.disk_rows import DiskRows, Found
from rapidfire_cli.training.footprint import compact, footprint
from rapidfire_cli.training.log import say
from rapidfire_cli.training.pooled import Pooled, PooledRun
from rapidfire_cli.training.row_source import Source, collate_of, plainly_collated, streams_of, uncached
from rapidfire_cli.training.row_trial import Draws, NotKept, Trial, dependence, mebibytes
from rapidfire_cli.training.stacking import kind, stacked_size
from rapidfire_cli.training.streams import Iterated
from rapidfire_cli.training.tracked_config import Reads, agrees
from rapidfire_cli.training.uploads import Mapped

REFUSALS = 1000  # the most refusals that are remembered (assumed: a few kB each)

Content: TypeAlias = Stacked | Mapped | tuple[Row, ...]
"""Stacked fields, in memory or on disk, or single rows to collate."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Describes the runs that would prepare the same rows of a split."""

    loaded: "ref[Loaded]"
    split: str
    reads: Reads
    seed: int | None  # None if the rows do not depend on it
    under: Sequence[Any]  # settings of the process

    def fits(self, split: str, source: Source) -> bool:
        """Whether the run of `source` would prepare the same rows."""
        same = self.loaded() is source.loaded and self.split == split and self.seed in (None, source.seed)
        return same and self.under == source.under and agrees(self.reads, source.leaf)


@dataclass(slots=True, eq=False)
class Entry:
    """The prepared rows of a split."""

    scope: Scope
    loaded: Loaded  # the reference keeps the data alive, so that later runs find data and rows
    content: Content
    size: int  # bytes
    users: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the rows of a split are not cached."""

    scope: Scope
    reason: str  # for the run's log; empty if training will report the error
    size: int | None  # their bytes, if that is the reason
    alone: str  # why data workers cannot prepare them; empty if they can, or if there are none


class RowCache:
    """A cache of at most `room` bytes of prepared rows; evicts least recently used rows, none in use."""

    def __init__(
        self, room: int, device: torch.device, on_disk: DiskRows, pool: DataPool | None = None, code: str = ""
    ) -> None:
        """Create the cache. `pool` prepares rows that are not cached; `code` are hashes of user modules."""
        self._room = room
        self._on_disk = on_disk
        self._device = device
        self._pool = pool
        self._code = code
        self._pooled: dict[int, tuple[Source, PooledRun]] = {}
        self._entries: list[Entry] = []  # the most recently used last
        self._refusals: list[Refusal] = []

    def batch_source(self, split: str, source: Source, other: Callable[[], MLSpec]) -> BatchSource:
        """Return a source of batches of the run's `split`.

        `other` creates another instance of its MLSpec, initialised equally, to test whether rows can be
        cached.
        """
        if isinstance(source.loaded.splits[split], Iterated):
            if self._pool:
                reason = "they can only be iterated"
                say(f"rapidfire: rows of `{split}` are prepared without data workers: {reason}")
            return uncached(split, source, self._device)
        entry = next((one for one in self._entries if one.scope.fits(split, source)), None)
        if entry:
            self._entries.remove(entry)
        elif isinstance(found := self._look(split, source, other), Entry):
            entry = found
        else:
            return self._not_kept(split, source, found)
        entry.users.add(source.run)
        self._entries.append(entry)
        return _batch_source(entry.content, split, source, self._device)

    def release(self, run: int) -> None:
        """Release the rows and data workers that a run used."""
        for entry in self._entries:
            entry.users.discard(run)
        if run in self._pooled:
            _, pooled = self._pooled.pop(run)
            pooled.close()

    def stop(self) -> None:
        """End the data workers."""
        if self._pool:
            self._pool.stop()

    def _not_kept(self, split: str, source: Source, found: Refusal | None) -> BatchSource:
        rows = uncached(split, source, self._device)
        if found and found.reason:
            say(f"rapidfire: rows of `{split}` are prepared again in every epoch: {found.reason}")
        if found is None or self._pool is None:
            return rows
        if found.alone:
            say(f"rapidfire: rows of `{split}` are prepared without data workers: {found.alone}")
            return rows
        return Pooled(self._pooled_run(source, self._pool), rows)

    def _pooled_run(self, source: Source, pool: DataPool) -> PooledRun:
        """Return the run's place in the pool, which its splits share."""
        if source.run in self._pooled:
            of, pooled = self._pooled[source.run]
            if of is source:
                return pooled
            pooled.close()
        data = source.loaded.fingerprint
        pooled = PooledRun(pool, source.assignment, source.share, self._code, data, source.under)
        self._pooled[source.run] = source, pooled
        return pooled

    def _look(self, split: str, source: Source, other: Callable[[], MLSpec]) -> Entry | Refusal | None:
        """Prepare the rows, or return why they are not cached; None if caching is off."""
        if not self._room and not self._on_disk and not self._pool:
            return None
        if self._on_disk and (found := self._on_disk.find(split, source)):
            return self._mapped(split, source, found)
        known = next((one for one in self._refusals if one.scope.fits(split, source)), None)
        if known and (known.size is None or not self._has_room(known.size)):
            return known
        self._refusals = [one for one in self._refusals if one.scope.loaded() and one is not known]
        drawn, needed = source.drawn, None
        try:
            if self._room or self._on_disk:
                content, size, seeded = self._kept(split, source, other)
                if isinstance(content, Found):
                    return self._mapped(split, source, content)
                drawn = drawn or seeded
                return Entry(self._scope(split, source, drawn), source.loaded, content, size)
            reason = ""
        except NotKept as refused:
            reason, needed = refused.reason, refused.size
        except Exception:  # it may need what create_model prepares; otherwise training will fail as well
            reason = ""
        alone = dependence(split, source, other) if self._pool else ""
        refusal = Refusal(self._scope(split, source, drawn), reason, needed, alone)
        self._refusals = [*self._refusals[-REFUSALS + 1 :], refusal]
        return refusal

    def _mapped(self, split: str, source: Source, found: Found) -> Entry:
        """Create an entry for rows on disk, which take no memory of this worker."""
        scope = Scope(ref(source.loaded), split, found.reads, found.seed, source.under)
        return Entry(scope, source.loaded, Mapped(found.rows, self._device), 0)

    def _scope(self, split: str, source: Source, drawn: bool) -> Scope:
        seed = source.seed if drawn else None
        return Scope(ref(source.loaded), split, dict(source.reads), seed, source.under)

    def _kept(
        self, split: str, source: Source, other: Callable[[], MLSpec]
    ) -> tuple[Content | Found, int, bool]:
        """Return all rows of the split, their bytes, and whether they depend on the run's seed.

        Raises NotKept, and what user code raises.
        """
        try:
            return *self._prepared(Trial(split, source, other(), seeded=False)), False
        except Draws:
            if split == TRAIN:
                raise
        return *self._prepared(Trial(split, source, other(), seeded=True)), True

    def _prepared(self, trial: Trial) -> tuple[Content | Found, int]:
        """Prepare all rows of the split; return them and their bytes. Raises NotKept, and user errors."""
        with trial.streams.apart():
            sample = trial.sample()
            like = sample[0]
            plain = trial.plainly_collated and kind(like) is not None
            if plain and all(kind(row) == kind(like) for row in sample.values()):
                size = stacked_size(like, trial.count)
                if self._on_disk and not self._has_room(size):
                    trial.repeat(sample)
                    return self._on_disk.prepared(trial, sample, size), size
                self._make_room(size)
                trial.repeat(sample)
                if fields := trial.stacks(sample):
                    placed = {name: fields.pop(name).to(self._device) for name in [*fields]}
                    return Stacked(placed, trial.count, self._device), size
            size = sum(footprint(compact(row)) for row in sample.values()) * trial.count // len(sample)
            self._make_room(size)
            trial.repeat(sample)
            rows, size = trial.rows(sample, self._room - self._used())
            self._make_room(size)
            return rows, size

    def _used(self) -> int:
        return sum(entry.size for entry in self._entries if entry.users)

    def _has_room(self, size: int) -> bool:
        return self._used() + size <= self._room

    def _make_room(self, size: int) -> None:
        """Evict unused entries, oldest first, until `size` bytes fit. Raises NotKept if they cannot."""
        if not self._has_room(size):
            raise NotKept(self._too_large(size), size)
        for entry in [entry for entry in self._entries if not entry.users]:
            if sum(one.size for one in self._entries) + size <= self._room:
                break
            self._entries.remove(entry)

    def _too_large(self, size: int) -> str:
        left = self._room - self._used()
        return f"they need about {mebibytes(size)} of memory, and `data_cache` has {mebibytes(left)} left"


def _batch_source(content: Content, split: str, source: Source, device: torch.device) -> BatchSource:
    if isinstance(content, Stacked | Mapped):
        return content
    own = not plainly_collated(source.spec)
    return Cached(split, content, partial(collate_of, source), streams_of(split, source), device, own)
