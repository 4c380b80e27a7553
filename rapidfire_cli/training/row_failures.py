"""Report why rows cannot be prepared or joined into a batch, with the split, the rows and the field."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch.utils.data import default_collate

from rapidfire_cli.training.failure import Failure, blamed, one_line


@contextmanager
def preparing(split: str, index: int, prepare: Callable[[int], Any]) -> Iterator[None]:
    """Turn an error raised in the block into a Failure that names the row.

    If the first row fails in the same way, it is named instead, so that runs with other row orders report the
    same row.
    """
    try:
        yield
    except Exception as error:
        failure = blamed(error)
        first = 0 if _fails_alike(error, prepare) else index
        raise Failure(
            failure.kind, f"row {first} of `{split}`: {failure.cause}", failure.traceback
        ) from error


@contextmanager
def collating(split: str, indices: Sequence[int], rows: Sequence[Any]) -> Iterator[None]:
    """Turn an error raised in the block into a Failure that names the rows, and the field if it is known."""
    try:
        yield
    except Exception as error:
        failure = blamed(error)
        why = _misfit(indices, rows) or f"rows {', '.join(map(str, indices[:3]))}, …"
        cause = f"a batch of `{split}` cannot be collated: {why}: {failure.cause}"
        raise Failure(failure.kind, cause, failure.traceback) from error


def _fails_alike(error: Exception, prepare: Callable[[int], Any]) -> bool:
    try:
        prepare(0)
    except Exception as other:
        return one_line(other) == one_line(error)
    return False


def _misfit(indices: Sequence[int], rows: Sequence[Any]) -> str:
    """Describe the first field in which rows differ or that cannot be joined; empty if there is none."""
    if not all(isinstance(row, Mapping) for row in rows):
        return ""
    first = rows[0]
    for index, row in zip(indices, rows, strict=True):
        for name in first.keys() ^ row.keys():
            has, lacks = (indices[0], index) if name in first else (index, indices[0])
            return f"row {has} has the field `{name}`, but row {lacks} does not"
    return next((found for name in first if (found := _unjoined(name, indices, rows))), "")


def _unjoined(name: str, indices: Sequence[int], rows: Sequence[Mapping[str, Any]]) -> str:
    """Describe why this field cannot be joined; empty if it can."""
    values = [row[name] for row in rows]
    try:
        default_collate(values)
    except Exception:
        first = _kind(values[0])
        for index, value in zip(indices, values, strict=True):
            if _kind(value) != first:
                return f"`{name}` is {first} in row {indices[0]} and {_kind(value)} in row {index}"
        return f"`{name}` is {first} in row {indices[0]}"
    return ""


def _kind(value: Any) -> str:
    """Describe a value's type, and its shape or length."""
    kind = type(value).__name__
    if (shape := getattr(value, "shape", None)) is not None:
        return f"a {kind} of shape {tuple(shape)}"
    if isinstance(value, list | tuple):
        return f"a {kind} of length {len(value)}"
    return "None" if value is None else f"a {kind}"
