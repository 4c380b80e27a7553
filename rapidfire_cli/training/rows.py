"""Prepared rows: worked out once, kept within a bound, and shared by the runs that would prepare the same.

Rows are prepared once only where nothing can tell. To find out, an instance of the MLSpec that trains no run
prepares rows spread over the split twice: what draws randomness, from generators that user code keeps for
itself too, and what comes out differently the second time is prepared anew for every epoch. So are rows that
take more than there is room for. Either is remembered, so that only the first of like runs looks.

Rows of the validation split that draw randomness are kept as well: they draw the same in every epoch of a run
(`row_streams`), and in every run with its seed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias
from weakref import ref

import torch

from rapidfire_cli.engine.messages import Assignment
from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.terms import TRAIN, LeafConfig
from rapidfire_cli.training import generators, rng
from rapidfire_cli.training.batches import BatchSource, Cached, Row, Stacked, Uncached
from rapidfire_cli.training.data_pool import DataPool
from rapidfire_cli.training.datasets import Loaded
from rapidfire_cli.training.equality import differing, equal
from rapidfire_cli.training.failure import one_line
from rapidfire_cli.training.footprint import compact, footprint
from rapidfire_cli.training.log import say
from rapidfire_cli.training.pooled import Pooled, PooledRun
from rapidfire_cli.training.row_streams import RowStreams
from rapidfire_cli.training.shared_batches import packed
from rapidfire_cli.training.stacking import Stacks, kind, stacked_size
from rapidfire_cli.training.tracked_config import Reads, TrackedConfig, agrees

SAMPLE = 16  # rows of a split that are prepared twice (assumed: what happens to half of them shows by then)
REFUSALS = 1000  # that are remembered (assumed: a few kB each)
POINTER = 8  # bytes of a list per row

Content: TypeAlias = Stacked | tuple[Row, ...]
"""Stacked fields, or rows to collate."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a run's rows follow from, once its `initialize_run` is done."""

    assignment: Assignment
    leaf: LeafConfig
    spec: MLSpec
    cfg: TrackedConfig  # the one that `initialize_run` had, so that what it kept of it is noted too
    reads: Reads  # what was read through `cfg`
    drawn: bool  # whether `initialize_run` drew randomness
    loaded: Loaded
    under: Sequence[Any]  # settings of the process that rows may depend on

    @property
    def run(self) -> int:
        """Its number."""
        return self.assignment.run

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.assignment.seed


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


class NotKept(Exception):  # noqa: N818 - what was found
    """The rows are to be prepared anew: why, and how many bytes they take where that is why."""

    def __init__(self, reason: str, size: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.size = size


class Draws(NotKept):
    """The rows draw random numbers."""


class RowCache:
    """Prepared rows of at most `room` bytes; the least recently asked for go first, those in use never."""

    def __init__(self, room: int, device: torch.device, pool: DataPool | None = None, code: str = "") -> None:
        """`pool` prepares rows that are not kept; `code` are hashes of the user's modules."""
        self._room = room
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
        if not self._room and not self._pool:
            return None
        known = next((one for one in self._refusals if one.scope.fits(split, source)), None)
        if known and (known.size is None or not self._has_room(known.size)):
            return known
        self._refusals = [one for one in self._refusals if one.scope.loaded() and one is not known]
        drawn, needed = source.drawn, None
        try:
            if self._room:
                content, size, seeded = self._kept(split, source, other)
                drawn = drawn or seeded
                return Entry(self._scope(split, source, drawn), source.loaded, content, size)
            reason = ""
        except NotKept as refused:
            reason, needed = refused.reason, refused.size
        except Exception:  # it may need what create_model prepares; if not, training will fail on it
            reason = ""
        alone = _dependence(split, source, other) if self._pool else ""
        refusal = Refusal(self._scope(split, source, drawn), reason, needed, alone)
        self._refusals = [*self._refusals[-REFUSALS + 1 :], refusal]
        return refusal

    def _scope(self, split: str, source: Source, drawn: bool) -> Scope:
        seed = source.seed if drawn else None
        return Scope(ref(source.loaded), split, dict(source.reads), seed, source.under)

    def _kept(self, split: str, source: Source, other: Callable[[], MLSpec]) -> tuple[Content, int, bool]:
        """All rows of the split, their bytes, and whether they draw from the run's seed.

        Raises NotKept, and what user code raises.
        """
        try:
            return *self._prepared(Trial(split, source, other(), seeded=False)), False
        except Draws:
            if split == TRAIN:
                raise
        return *self._prepared(Trial(split, source, other(), seeded=True)), True

    def _prepared(self, trial: "Trial") -> tuple[Content, int]:
        """All rows of the split, and how many bytes they take. Raises NotKept, and what user code raises."""
        with trial.streams.apart():
            sample = trial.sample()
            like = sample[0]
            plain = trial.plainly_collated and kind(like) is not None
            if plain and all(kind(row) == kind(like) for row in sample.values()):
                size = stacked_size(like, trial.count)
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
        return f"they need about {_mebibytes(size)} of memory, and `data_cache` has {_mebibytes(left)} left"


class Trial:
    """A split's rows prepared by an MLSpec that trains no run, watched for all that may differ next time.

    Draws of random numbers are among that, unless each row is `seeded` by itself.
    """

    def __init__(self, split: str, source: Source, spec: MLSpec, seeded: bool) -> None:
        self._split = split
        self._seeded = seeded
        self._source = source
        self._spec = spec
        self._dataset = source.loaded.splits[split]
        self.count = len(self._dataset)
        self.plainly_collated = _plainly_collated(spec)
        self._before = rng.capture()
        self._own = generators.within_reach(spec, dataset=self._dataset)
        self.streams = RowStreams(source.seed, split, self._own)

    def sample(self) -> dict[int, Row]:
        """Rows spread over the split, by index, the first among them. Raises NotKept."""
        shown = min(self.count, SAMPLE)
        rows = {index: self._row(index) for index in (at * self.count // shown for at in range(shown))}
        self._check_draws()
        return rows

    def repeat(self, sample: dict[int, Row]) -> None:
        """Prepare the sample again, backwards, so that what counts calls shows too. Raises NotKept."""
        for index, row in reversed(sample.items()):
            again = self._row(index)
            if not equal(row, again):
                fields = ", ".join(f"`{name}`" for name in differing(row, again))
                where = f" (in {fields})" if fields else ""
                raise NotKept(f"preparing row {index} twice gave different results{where}")
        self._check_draws()

    def join(self, sample: dict[int, Row]) -> None:
        """Collate the sample and send it on. Raises what user code or pickling it raises."""
        self.streams.batch(0, epoch=1)
        packed(self._spec.collate([*sample.values()], self._source.cfg))

    def stacks(self, sample: dict[int, Row]) -> dict[str, torch.Tensor] | None:
        """All rows, stacked; None where they are not all of one kind. Raises NotKept."""
        stacks = Stacks(sample[0], self.count)
        for index in range(self.count):
            if not stacks.put(index, self._next(index, sample)):
                return None
        self._check_draws()
        return stacks.fields

    def rows(self, sample: dict[int, Row], room: int) -> tuple[tuple[Row, ...], int]:
        """All rows, and the bytes that they take. Raises NotKept, also when that is more than `room`."""
        rows: list[Row] = []
        size = 0
        for index in range(self.count):
            rows.append(compact(self._next(index, sample)))
            size += footprint(rows[-1]) + POINTER
            if size > room:
                raise NotKept(f"they need more than the {_mebibytes(room)} that `data_cache` has left", size)
        self._check_draws()
        return tuple(rows), size

    def _next(self, index: int, sample: dict[int, Row]) -> Row:
        """A row in its turn; looking for draws costs as much as many rows, so it is done ever more rarely."""
        if (index + 1).bit_count() == 1:
            self._check_draws()
        return sample[index] if index in sample else self._row(index)

    def _row(self, index: int) -> Row:
        if self._seeded:
            self.streams.row(index, epoch=1)
        return self._spec.row_prep(self._dataset[index], self._source.cfg, self._split)

    def _check_draws(self) -> None:
        if self._seeded:
            return
        if not rng.unchanged_since(self._before):
            raise Draws("row_prep draws random numbers")
        if path := self._own.moved():
            raise Draws(f"row_prep draws random numbers from a generator of its own ({path})")


def _dependence(split: str, source: Source, other: Callable[[], MLSpec]) -> str:
    """Why the rows do not come out the same in any order and in any process; empty where they do."""
    try:
        trial = Trial(split, source, other(), seeded=True)
        with trial.streams.apart():
            sample = trial.sample()
            trial.repeat(sample)
            trial.join(sample)
    except NotKept as refused:
        return refused.reason
    except Exception as error:
        return f"an instance that trains no run cannot prepare them: {one_line(error)}"
    return ""


def _batch_source(content: Content, split: str, source: Source, device: torch.device) -> BatchSource:
    if isinstance(content, Stacked):
        return content
    own = not _plainly_collated(source.spec)
    return Cached(split, content, partial(_collate, source), _streams(split, source), device, own)


def uncached(split: str, source: Source, device: torch.device) -> Uncached:
    """The rows of a split, prepared by the run's own MLSpec whenever they are needed."""
    dataset = source.loaded.splits[split]
    prepare, collate = partial(_prepare, source, split), partial(_collate, source)
    return Uncached(split, dataset, prepare, collate, _streams(split, source), device)


def _streams(split: str, source: Source) -> RowStreams:
    own = generators.within_reach(source.spec, dataset=source.loaded.splits[split])
    return RowStreams(source.seed, split, own)


def _prepare(source: Source, split: str, row: Any) -> Row:
    return source.spec.row_prep(row, source.cfg, split)


def _collate(source: Source, rows: Sequence[Row]) -> Any:
    return source.spec.collate(rows, source.cfg)


def _plainly_collated(spec: MLSpec) -> bool:
    return getattr(spec.collate, "__func__", None) is MLSpec.collate


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
