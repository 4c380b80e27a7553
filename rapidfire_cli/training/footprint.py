"""Measure the memory of a cached row, and reduce it to what the row needs."""

import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rapidfire_cli.training.batches import ALIGNED

TENSOR = 500  # bytes of a tensor beside its elements: the Python object, torch's, its storage (measured)


def compact(value: Any) -> Any:
    """Return the value with views of larger arrays copied, since a view keeps the whole array in memory.

    A tensor's copy has the strides and the alignment of the view, since kernels may round differently
    otherwise.
    """
    if type(value) is dict:
        return {name: compact(part) for name, part in value.items()}
    if type(value) in (list, tuple) and any(isinstance(part, Tensor | np.ndarray) for part in value):
        return type(value)(map(compact, value))
    if type(value) is np.ndarray and value.base is not None:
        return value.copy(order="K")
    if type(value) is Tensor and _is_small_view(value):
        return _copied(value)
    return value


def footprint(value: Any) -> int:
    """Return about how many bytes a row takes in memory, including Python objects."""
    match value:
        case Tensor():
            strided = value.layout is torch.strided
            return TENSOR + (value.untyped_storage().nbytes() if strided else value.nbytes)
        case np.ndarray():
            return sys.getsizeof(value) + (0 if value.base is None else value.nbytes)
        case dict():
            return sys.getsizeof(value) + sum(map(footprint, value.values()))
        case list() | tuple():
            return sys.getsizeof(value) + sum(map(footprint, value))
    held = getattr(value, "__dict__", None)
    return sys.getsizeof(value) + (footprint(held) if isinstance(held, dict) else 0)


def _is_small_view(tensor: Tensor) -> bool:
    plain = tensor.layout is torch.strided and not (
        tensor.requires_grad or tensor.is_conj() or tensor.is_neg()
    )
    return plain and tensor.untyped_storage().nbytes() > 2 * tensor.nbytes and 0 not in tensor.stride()


def _copied(tensor: Tensor) -> Tensor:
    lead = tensor.data_ptr() % ALIGNED // tensor.itemsize
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    span = 1 + sum((length - 1) * stride for length, stride in steps) if tensor.numel() else 0
    if (lead + span) * tensor.itemsize >= tensor.untyped_storage().nbytes():
        return tensor
    base = torch.empty(lead + span, dtype=tensor.dtype, device=tensor.device)
    return base.as_strided(tensor.shape, tensor.stride(), lead).copy_(tensor)
