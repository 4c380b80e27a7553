"""Streams: train splits whose rows can only be iterated, numbered from the start of training.

Theory of operation. An epoch consists of the next `steps_per_epoch` optimizer steps of the stream. When a
pass over the dataset ends, the next one begins. Before a row is taken from the iterator, all generators are
seeded with the row's number, as for rows by index. So a stream is a function of the seed only. To continue, a
run restarts the pass that it was in and skips rows. A checkpoint holds the number of that pass and the number
of its first row.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from rapidfire_cli.training.row_streams import RowStreams

END: Final = object()

State: TypeAlias = tuple[int, int]
"""The number of a pass, from 0, and the number of its first row."""


@dataclass(frozen=True, slots=True)
class Iterated:
    """A split without rows by index: an iterable, or a function that returns an iterator."""

    dataset: Any

    def begin(self, number: int) -> Iterator[Any]:
        """Return an iterator over the rows of a pass; passes count from 0."""
        if callable(tell := getattr(self.dataset, "set_epoch", None)):
            tell(number)
        return iter(self.dataset() if not hasattr(self.dataset, "__iter__") else self.dataset)


def iterated(dataset: Any) -> Iterated | None:
    """Return the split as an iterated one, or None; a generator object cannot be restarted."""
    if hasattr(dataset, "__iter__"):
        return None if isinstance(dataset, Iterator) else Iterated(dataset)
    return Iterated(dataset) if callable(dataset) and not hasattr(dataset, "__getitem__") else None


class Stream:
    """The rows of a run's stream by number. Going back, or continuing a run, reads a pass again."""

    def __init__(self, split: Iterated, streams: RowStreams, per_epoch: int) -> None:
        """Create the stream; `streams` seed the rows, and an epoch takes `per_epoch` rows."""
        self._split = split
        self._streams = streams
        self._per_epoch = per_epoch
        self._rows: Iterator[Any] | None = None
        self._next = 0
        self.state: State = (0, 0)

    def __len__(self) -> int:
        return self._per_epoch

    def __getitem__(self, number: int) -> Any:
        """Return the row; the generators must be seeded for it. Raises what user code raises."""
        if self._rows is None or number < self._next:
            self._begin(*(self.state if number >= self.state[1] else (0, 0)))
        if number != self._next:
            while self._next < number:
                self._seed(self._next)
                self._read()
            self._seed(number)
        return self._read()

    def _read(self) -> Any:
        assert self._rows is not None
        if (row := next(self._rows, END)) is END:
            if self._next > self.state[1]:
                self._begin(self.state[0] + 1, self._next)
                row = next(self._rows, END)
            if row is END:
                raise ValueError("the train split has no rows")
        self._next += 1
        return row

    def _begin(self, number: int, first: int) -> None:
        """Begin a pass, with the generators seeded for its first row."""
        self._seed(first)
        self._rows = self._split.begin(number)
        self._seed(first)
        self.state = number, first
        self._next = first

    def _seed(self, number: int) -> None:
        self._streams.row(number, number // self._per_epoch + 1)
