"""Join prepared rows field by field, if the result equals that of default_collate."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rapidfire_cli.training.batches import Row

NUMBERS = {bool: torch.bool, int: torch.int64, float: torch.float64}  # as in default_collate


class Stacks:
    """Rows of one kind that default_collate can join, written into tensors for all rows."""

    def __init__(self, like: Row, count: int) -> None:
        self._kind = kind(like)
        self.fields = {name: _stack(value, count) for name, value in like.items()}

    def put(self, index: int, row: Row) -> bool:
        """Write a row at its index; return False if it is of another kind than the first row."""
        if kind(row) != self._kind:
            return False
        for name, value in row.items():
            stack = self.fields[name]
            stack[index] = torch.as_tensor(value) if isinstance(value, np.ndarray | np.generic) else value
        return True


def kind(row: Any) -> tuple[Any, ...] | None:
    """Return what must be equal for rows to be stacked together; None if the row cannot be stacked."""
    if type(row) is not dict or not row:
        return None
    kinds = tuple((name, _field_kind(value)) for name, value in row.items())
    return kinds if all(one for _, one in kinds) else None


def stacked_size(row: Row, count: int) -> int:
    """Return the bytes that `count` rows of this kind take as stacks."""
    return sum(_stack(value, 1).nbytes for value in row.values()) * count


def _stack(value: Any, count: int) -> Tensor:
    match value:
        case Tensor():
            return torch.empty((count, *value.shape), dtype=value.dtype, device=value.device)
        case np.ndarray() | np.generic():
            return torch.empty((count, *value.shape), dtype=torch.as_tensor(value).dtype)
    return torch.empty(count, dtype=NUMBERS[type(value)])


def _field_kind(value: Any) -> tuple[Any, ...] | None:
    match value:
        case Tensor():
            plain = type(value) is Tensor and value.layout is torch.strided and not value.requires_grad
            return (Tensor, value.dtype, value.shape, value.device) if plain else None
        case np.ndarray() | np.generic():
            plain = type(value) is np.ndarray or isinstance(value, np.number | np.bool_)
            return (type(value), value.dtype, value.shape) if plain and value.dtype.kind in "biuf" else None
    return (type(value),) if type(value) in NUMBERS else None
