"""Train splits whose rows can only be iterated, as rows by their number since training began.

Theory of operation. An epoch is the next `steps_per_epoch` optimizer steps of the stream; where a pass over
the dataset ends, the next one begins. Before a row is taken from the iterator, all generators are seeded with
the row's number, as for rows by index. So a stream is a function of the seed alone, and a run continues by
beginning the pass that it was in again and skipping rows. A checkpoint holds that pass and the number of its
first row.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from rapidfire_cli.training.row_streams import RowStreams

END: Final = object()

State: TypeAlias = tuple[int, int]
"""A pass, from 0, and the number of its first row."""


@dataclass(frozen=True, slots=True)
class Iterated:
    """A split without rows by index: an iterable, or a function that returns an iterator."""

    dataset: Any

    def begin(self, number: int) -> Iterator[Any]:
        """The rows of a pass, from 0."""
        if callable(tell := getattr(self.dataset, "set_epoch", None)):
            tell(number)
        return iter(self.dataset() if not hasattr(self.dataset, "__iter__") else self.dataset)


def iterated(dataset: Any) -> Iterated | None:
    """The split as one that is iterated, if it can be; a generator that is under way cannot begin anew."""
    if hasattr(dataset, "__iter__"):
        return None if isinstance(dataset, Iterator) else Iterated(dataset)
    return Iterated(dataset) if callable(dataset) and not hasattr(dataset, "__getitem__") else None


class Stream:
    """The rows of a run's stream by their number; to go back, or to continue, is to read a pass again."""

    def __init__(self, split: Iterated, streams: RowStreams, per_epoch: int) -> None:
        """`streams` seed the rows; an epoch takes `per_epoch` of them."""
        self._split = split
        self._streams = streams
        self._per_epoch = per_epoch
        self._rows: Iterator[Any] | None = None
        self._next = 0
        self.state: State = (0, 0)

    def __len__(self) -> int:
        return self._per_epoch

    def __getitem__(self, number: int) -> Any:
        """The row; the generators must have been seeded for it. Raises what user code raises."""
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
        """Begin a pass; whatever was drawn before, its first row finds the generators seeded for it."""
        self._seed(first)
        self._rows = self._split.begin(number)
        self._seed(first)
        self.state = number, first
        self._next = first

    def _seed(self, number: int) -> None:
        self._streams.row(number, number // self._per_epoch + 1)
