"""Tests whether the rows of a split may be prepared once, with an MLSpec that trains no run."""

from collections.abc import Callable, Iterator, Mapping

import torch

from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.training import generators, rng
from rapidfire_cli.training.batches import Row
from rapidfire_cli.training.equality import differing, equal
from rapidfire_cli.training.failure import one_line
from rapidfire_cli.training.footprint import compact, footprint
from rapidfire_cli.training.row_source import Source, plainly_collated, prepared
from rapidfire_cli.training.row_streams import RowStreams
from rapidfire_cli.training.shared_batches import packed
from rapidfire_cli.training.stacking import Stacks

SAMPLE = 16  # rows of a split that are prepared twice (assumed: what happens to half of them shows by then)
POINTER = 8  # bytes of a list per row


class NotKept(Exception):  # noqa: N818 - what was found
    """The rows are to be prepared anew: why, and how many bytes they take where that is why."""

    def __init__(self, reason: str, size: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.size = size


class Draws(NotKept):
    """The rows draw random numbers."""


class Trial:
    """A split's rows prepared by an MLSpec that trains no run, watched for all that may differ next time.

    Draws of random numbers are among that, unless each row is `seeded` by itself.
    """

    def __init__(self, split: str, source: Source, spec: MLSpec, seeded: bool) -> None:
        self.split = split
        self.seeded = seeded
        self.source = source
        self._spec = spec
        self._dataset = source.loaded.indexed(split)
        self.count = len(self._dataset)
        self.plainly_collated = plainly_collated(spec)
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
        packed(self._spec.collate([*sample.values()], self.source.cfg))

    def stacks(self, sample: dict[int, Row]) -> dict[str, torch.Tensor] | None:
        """All rows, stacked; None where they are not all of one kind. Raises NotKept."""
        stacks = Stacks(sample[0], self.count)
        for index, row in enumerate(self.each(sample)):
            if not stacks.put(index, row):
                return None
        return stacks.fields

    def rows(self, sample: dict[int, Row], room: int) -> tuple[tuple[Row, ...], int]:
        """All rows, and the bytes that they take. Raises NotKept, also when that is more than `room`."""
        rows: list[Row] = []
        size = 0
        for row in self.each(sample):
            rows.append(compact(row))
            size += footprint(rows[-1]) + POINTER
            if size > room:
                raise NotKept(f"they need more than the {mebibytes(room)} that `data_cache` has left", size)
        return tuple(rows), size

    def each(self, sample: Mapping[int, Row]) -> Iterator[Row]:
        """All rows in their order, and a last look for draws. Raises NotKept."""
        for index in range(self.count):
            yield self._next(index, sample)
        self._check_draws()

    def _next(self, index: int, sample: Mapping[int, Row]) -> Row:
        """A row in its turn; looking for draws costs as much as many rows, so it is done ever more rarely."""
        if (index + 1).bit_count() == 1:
            self._check_draws()
        return sample[index] if index in sample else self._row(index)

    def _row(self, index: int) -> Row:
        if self.seeded:
            self.streams.row(index, epoch=1)
        return prepared(self._spec, self.source, self.split, self._dataset[index])

    def _check_draws(self) -> None:
        if self.seeded:
            return
        if not rng.unchanged_since(self._before):
            raise Draws("row_prep draws random numbers")
        if path := self._own.moved():
            raise Draws(f"row_prep draws random numbers from a generator of its own ({path})")


def dependence(split: str, source: Source, other: Callable[[], MLSpec]) -> str:
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


def mebibytes(size: int) -> str:
    """A number of bytes, to be read."""
    return f"{size / 2**20:,.1f} MiB"
