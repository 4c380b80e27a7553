"""Prepared rows joined field by field, where that gives what collating them would."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from rapidfire_cli.training.feeds import Row


def stacked(rows: Sequence[Row]) -> dict[str, Tensor] | None:
    """The rows joined field by field, if every row is of one kind that torch's default_collate joins."""
    kind = _kind(rows[0]) if rows else None
    if not kind or any(_kind(row) != kind for row in rows):
        return None
    fields: dict[str, Tensor] = default_collate(list(rows))
    return fields


def weight(value: Any) -> int:
    """About how many bytes a prepared row takes."""
    match value:
        case Tensor() | np.ndarray():
            return value.nbytes
        case dict():
            return sum(map(weight, value.values()))
        case list() | tuple():
            return sum(map(weight, value))
    return sys.getsizeof(value)


def _kind(row: Any) -> tuple[Any, ...] | None:
    """What must be equal for rows to be stacked; None where they cannot be."""
    if type(row) is not dict:
        return None
    kinds = tuple((name, _field_kind(value)) for name, value in row.items())
    return kinds if all(kind for _, kind in kinds) else None


def _field_kind(value: Any) -> tuple[Any, ...] | None:
    match value:
        case Tensor():
            plain = type(value) is Tensor and value.layout is torch.strided and not value.requires_grad
            return (Tensor, value.dtype, value.shape, value.device) if plain else None
        case np.ndarray():
            return (np.ndarray, value.dtype, value.shape) if value.dtype.kind in "biuf" else None
        case bool() | int() | float():
            return (type(value),)
    return None
