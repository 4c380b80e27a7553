"""Test whether the rows of a split can be prepared once and cached, with an MLSpec that trains no run."""

from collections.abc import Callable, Iterator, Mapping

import torch

from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.training import own_generators, rng
from rapidfire_cli.training.batches import Row
from rapidfire_cli.training.equality import differing, equal
from rapidfire_cli.training.failure import one_line
from rapidfire_cli.training.footprint import compact, footprint
from rapidfire_cli.training.row_source import Source, plainly_collated, prepared
from rapidfire_cli.training.row_streams import RowStreams
from rapidfire_cli.training.shared_batches import packed
from rapidfire_cli.training.stacking import Stacks

SAMPLE = 16  # rows of a split that are prepared twice (assumed: this shows what affects half of the rows)
POINTER = 8  # bytes of a list per row


class NotKept(Exception):  # noqa: N818 - what was found
    """The rows cannot be cached; `reason` says why, and `size` is their bytes if that is the reason."""

    def __init__(self, reason: str, size: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.size = size


class Draws(NotKept):
    """The rows draw random numbers."""


class Trial:
    """A trial preparation of a split's rows by an MLSpec that trains no run, to detect rows that vary.

    Rows that draw random numbers are rejected, unless each row is `seeded` by itself.
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
        self._own = own_generators.within_reach(spec, dataset=self._dataset)
        self.streams = RowStreams(source.seed, split, self._own)

    def sample(self) -> dict[int, Row]:
        """Prepare rows spread over the split, including the first; return them by index. Raises NotKept."""
        shown = min(self.count, SAMPLE)
        rows = {index: self._row(index) for index in (at * self.count // shown for at in range(shown))}
        self._check_draws()
        return rows

    def repeat(self, sample: dict[int, Row]) -> None:
        """Prepare the sample again in reverse order and compare. Raises NotKept if a row differs.

        The reverse order also detects rows that depend on a count of calls.
        """
        for index, row in reversed(sample.items()):
            again = self._row(index)
            if not equal(row, again):
                fields = ", ".join(f"`{name}`" for name in differing(row, again))
                where = f" (in {fields})" if fields else ""
                raise NotKept(f"preparing row {index} twice gave different results{where}")
        self._check_draws()

    def join(self, sample: dict[int, Row]) -> None:
        """Collate and pickle the sample. Raises what user code or pickling raises."""
        self.streams.batch(0, epoch=1)
        packed(self._spec.collate([*sample.values()], self.source.cfg))

    def stacks(self, sample: dict[int, Row]) -> dict[str, torch.Tensor] | None:
        """Prepare and stack all rows; return None if they are not all of one kind. Raises NotKept."""
        stacks = Stacks(sample[0], self.count)
        for index, row in enumerate(self.each(sample)):
            if not stacks.put(index, row):
                return None
        return stacks.fields

    def rows(self, sample: dict[int, Row], room: int) -> tuple[tuple[Row, ...], int]:
        """Prepare all rows; return them and their bytes. Raises NotKept, also if they exceed `room`."""
        rows: list[Row] = []
        size = 0
        for row in self.each(sample):
            rows.append(compact(row))
            size += footprint(rows[-1]) + POINTER
            if size > room:
                raise NotKept(f"they need more than the {mebibytes(room)} that `data_cache` has left", size)
        return tuple(rows), size

    def each(self, sample: Mapping[int, Row]) -> Iterator[Row]:
        """Yield all rows in order, then check once more for random numbers. Raises NotKept."""
        for index in range(self.count):
            yield self._next(index, sample)
        self._check_draws()

    def _next(self, index: int, sample: Mapping[int, Row]) -> Row:
        """Return a row; check for random numbers at doubling intervals, since a check is slow."""
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
    """Return why rows depend on their order or on the process that prepares them; empty if they do not."""
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
    """Format a number of bytes for a message."""
    return f"{size / 2**20:,.1f} MiB"
