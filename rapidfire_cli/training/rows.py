"""Prepared rows: worked out once, kept within a bound, and shared by the runs that would prepare the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import torch

from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.terms import LeafConfig
from rapidfire_cli.training import rng
from rapidfire_cli.training.datasets import Loaded
from rapidfire_cli.training.feeds import Feed, Fresh, Kept, Row, Stacked
from rapidfire_cli.training.knobs import Knobs, Reads, agrees
from rapidfire_cli.training.stacking import stacked, weight

Content: TypeAlias = Stacked | tuple[Row, ...]
"""Stacked fields, or rows to collate."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a run's rows follow from, once its `initialize_run` is done."""

    run: int
    seed: int
    leaf: LeafConfig
    spec: MLSpec
    cfg: Knobs  # the one that `initialize_run` had, so that what it kept of it is noted too
    reads: Reads  # what was read through `cfg`
    drawn: bool  # whether `initialize_run` drew randomness
    loaded: Loaded


@dataclass(slots=True, eq=False)
class Entry:
    """The rows of a split, and which runs they are right for."""

    loaded: Loaded
    split: str
    reads: Reads
    seed: int | None  # where the rows depend on it
    content: Content
    size: int  # bytes
    users: set[int] = field(default_factory=set)

    def fits(self, split: str, source: Source) -> bool:
        """Whether the run would prepare just these rows."""
        same = self.loaded is source.loaded and self.split == split and self.seed in (None, source.seed)
        return same and agrees(self.reads, source.leaf)


class RowCache:
    """Prepared rows of at most `room` bytes; the least recently asked for go first, those in use never."""

    def __init__(self, room: int, device: torch.device) -> None:
        self._room = room
        self._device = device
        self._entries: list[Entry] = []  # the most recently asked for last

    def feed(self, split: str, source: Source) -> Feed:
        """The rows of `split` as batches for the run."""
        entry = next((one for one in self._entries if one.fits(split, source)), None)
        if entry:
            self._entries.remove(entry)
        else:
            entry = self._prepare(split, source)
        if not entry:
            return _fresh(split, source, self._device)
        entry.users.add(source.run)
        self._entries.append(entry)
        return _feed(entry.content, source, self._device)

    def release(self, run: int) -> None:
        """The run is no longer here."""
        for entry in self._entries:
            entry.users.discard(run)

    def _prepare(self, split: str, source: Source) -> Entry | None:
        """The rows prepared, unless that draws randomness, fails, or takes more than there is room for."""
        before = rng.capture()
        rows: list[Row] = []
        size, count = 0, len(source.loaded.splits[split])
        try:
            for row in _prepared(split, source):
                rows.append(row)
                size += weight(row)
                if len(rows) == 1 and not self._make_room(size * count):
                    return None
                if size > self._room or (_power_of_two(len(rows)) and not rng.undrawn(before)):
                    return None
        except Exception:  # it may need what create_model prepares; if not, training will fail on it
            return None
        if not rng.undrawn(before) or not self._make_room(size):
            return None
        seed = source.seed if source.drawn else None
        return Entry(source.loaded, split, dict(source.reads), seed, self._content(tuple(rows), source), size)

    def _content(self, rows: tuple[Row, ...], source: Source) -> Content:
        fields = stacked(rows) if _plainly_collated(source.spec) else None
        if not fields:
            return rows
        placed = {name: values.to(self._device) for name, values in fields.items()}
        return Stacked(placed, len(rows), self._device)

    def _make_room(self, size: int) -> bool:
        """Let unused entries go, oldest first, until `size` bytes fit; False if they cannot."""
        used = sum(entry.size for entry in self._entries if entry.users)
        if used + size > self._room:
            return False
        for entry in [entry for entry in self._entries if not entry.users]:
            if sum(one.size for one in self._entries) + size <= self._room:
                break
            self._entries.remove(entry)
        return True


def _feed(content: Content, source: Source, device: torch.device) -> Feed:
    if isinstance(content, Stacked):
        return content
    return Kept(content, partial(_collate, source), device)


def _fresh(split: str, source: Source, device: torch.device) -> Feed:
    dataset = source.loaded.splits[split]
    return Fresh(dataset, partial(_prepare, source, split), partial(_collate, source), device)


def _prepare(source: Source, split: str, row: Any) -> Row:
    return source.spec.row_prep(row, source.cfg, split)


def _collate(source: Source, rows: Sequence[Row]) -> Any:
    return source.spec.collate(rows, source.cfg)


def _power_of_two(count: int) -> bool:
    """Looking for draws costs as much as preparing many a row, so it is done ever more rarely."""
    return count.bit_count() == 1


def _prepared(split: str, source: Source) -> Iterator[Row]:
    dataset = source.loaded.splits[split]
    for index in range(len(dataset)):
        yield _prepare(source, split, dataset[index])


def _plainly_collated(spec: MLSpec) -> bool:
    return getattr(spec.collate, "__func__", None) is MLSpec.collate
