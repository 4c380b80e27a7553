"""Prepared rows: worked out once, kept within a bound, and shared by the runs that would prepare the same.

Rows are prepared once only where nothing can tell. To find out, an instance of the MLSpec that trains no run
prepares rows spread over the split twice: what draws randomness, from generators that user code keeps for
itself too, and what comes out differently the second time is prepared anew for every epoch. So are rows that
take more than there is room for, in memory and on disk (`disk_rows`). Either is remembered, so that only the
first of like runs looks.

Rows of the validation split that draw randomness are kept as well: they draw the same in every epoch of a run
(`row_streams`), and in every run with its seed.
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

REFUSALS = 1000  # that are remembered (assumed: a few kB each)

Content: TypeAlias = Stacked | Mapped | tuple[Row, ...]
"""Stacked fields, in memory or on disk, or rows to collate."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The runs that would prepare just the same rows of a split."""

    loaded: "ref[Loaded]"
    split: str
    reads: Reads
    seed: int | None  # where the rows depend on it
    under: Sequence[Any]  # settings of the process

    def fits(self, split: str, source: Source) -> bool:
        """Whether the run is one of them."""
        same = self.loaded() is source.loaded and self.split == split and self.seed in (None, source.seed)
        return same and self.under == source.under and agrees(self.reads, source.leaf)


@dataclass(slots=True, eq=False)
class Entry:
    """The prepared rows of a split."""

    scope: Scope
    loaded: Loaded  # kept as long as the rows are: knobs that agree must find them
    content: Content
    size: int  # bytes
    users: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the rows of a split are not kept."""

    scope: Scope
    reason: str  # as the run's log has it; empty where training will show it
    size: int | None  # bytes that they take, where that is the reason
    alone: str  # why data workers cannot prepare them; empty where they can, or where there are none


class RowCache:
    """Prepared rows of at most `room` bytes; the least recently asked for go first, those in use never."""

    def __init__(
        self, room: int, device: torch.device, on_disk: DiskRows, pool: DataPool | None = None, code: str = ""
    ) -> None:
        """`pool` prepares rows that are not kept; `code` are hashes of the user's modules."""
        self._room = room
        self._on_disk = on_disk
        self._device = device
        self._pool = pool
        self._code = code
        self._pooled: dict[int, tuple[Source, PooledRun]] = {}
        self._entries: list[Entry] = []  # the most recently asked for last
        self._refusals: list[Refusal] = []

    def batch_source(self, split: str, source: Source, other: Callable[[], MLSpec]) -> BatchSource:
        """The rows of `split` as batches for the run.

        `other` makes another instance of its MLSpec, initialised alike, to find out whether rows can be kept.
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
        """The run is no longer here."""
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
        """The run's place in the pool, for all its splits."""
        if source.run in self._pooled:
            of, pooled = self._pooled[source.run]
            if of is source:
                return pooled
            pooled.close()
        data = source.loaded.fingerprint
        pooled = PooledRun(pool, source.assignment, self._code, data, source.under)
        self._pooled[source.run] = source, pooled
        return pooled

    def _look(self, split: str, source: Source, other: Callable[[], MLSpec]) -> Entry | Refusal | None:
        """The rows prepared, or why they are not kept; None where nothing may be kept."""
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
        except Exception:  # it may need what create_model prepares; if not, training will fail on it
            reason = ""
        alone = dependence(split, source, other) if self._pool else ""
        refusal = Refusal(self._scope(split, source, drawn), reason, needed, alone)
        self._refusals = [*self._refusals[-REFUSALS + 1 :], refusal]
        return refusal

    def _mapped(self, split: str, source: Source, found: Found) -> Entry:
        """Rows on disk, which take no memory of this worker's."""
        scope = Scope(ref(source.loaded), split, found.reads, found.seed, source.under)
        return Entry(scope, source.loaded, Mapped(found.rows, self._device), 0)

    def _scope(self, split: str, source: Source, drawn: bool) -> Scope:
        seed = source.seed if drawn else None
        return Scope(ref(source.loaded), split, dict(source.reads), seed, source.under)

    def _kept(
        self, split: str, source: Source, other: Callable[[], MLSpec]
    ) -> tuple[Content | Found, int, bool]:
        """All rows of the split, their bytes, and whether they draw from the run's seed.

        Raises NotKept, and what user code raises.
        """
        try:
            return *self._prepared(Trial(split, source, other(), seeded=False)), False
        except Draws:
            if split == TRAIN:
                raise
        return *self._prepared(Trial(split, source, other(), seeded=True)), True

    def _prepared(self, trial: Trial) -> tuple[Content | Found, int]:
        """All rows of the split, and how many bytes they take. Raises NotKept, and what user code raises."""
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
        """Let unused entries go, oldest first, until `size` bytes fit. Raises NotKept if they cannot."""
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
