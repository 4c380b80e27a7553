"""Compare two values of any type bit for bit: tensors, arrays, NaN, images, objects.

Values that cannot be compared count as different: then the caller repeats its work, which is always correct.
"""

from collections.abc import Iterable, Mapping
from itertools import zip_longest
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

DEEPEST = 50  # levels of nesting that are compared (assumed: prepared rows have two or three)
BY_IDENTITY = (type, FunctionType, BuiltinFunctionType, ModuleType, torch.dtype, torch.device)


def equal(one: Any, other: Any, depth: int = 0) -> bool:
    """Whether both values have the same type and the same bits; objects are compared as they are pickled."""
    if one is other:
        return True
    if type(one) is not type(other) or depth > DEEPEST:
        return False
    try:
        return _equal(one, other, depth + 1)
    except Exception:  # an object that refuses to be compared or pickled
        return False


def differing(one: Any, other: Any) -> list[str]:
    """The fields in which two prepared rows differ; empty if they are equal or not comparable by field."""
    if isinstance(one, Mapping) and isinstance(other, Mapping) and [*one] == [*other]:
        return [str(name) for name in one if not equal(one[name], other[name])]
    return []


def _equal(one: Any, other: Any, depth: int) -> bool:
    match one:
        case Tensor():
            return _equal_tensors(one, other)
        case np.ndarray() if one.dtype.hasobject:
            return one.shape == other.shape and _equal_each(one.ravel(), other.ravel(), depth)
        case np.ndarray() | np.generic():
            alike = one.dtype == other.dtype and one.shape == other.shape
            return bool(alike and one.tobytes() == other.tobytes())
        case None | bool() | int() | str() | bytes() | bytearray():
            return bool(one == other)
        case float() | complex():
            return repr(one) == repr(other)  # NaN equals itself, -0.0 is not 0.0
        case dict() if type(one) is dict:
            return _equal_each(one.items(), other.items(), depth)
        case list() | tuple() if type(one) in (list, tuple):
            return _equal_each(one, other, depth)
        case set() | frozenset() if type(one) in (set, frozenset):
            return bool(one == other)
    if isinstance(one, BY_IDENTITY):
        return bool(one == other)
    return _equal_parts(one.__reduce_ex__(4), other.__reduce_ex__(4), depth)


def _equal_tensors(one: Tensor, other: Tensor) -> bool:
    if is_lazy(one) or is_lazy(other):
        return is_lazy(one) and is_lazy(other)
    if (one.dtype, one.shape, one.layout) != (other.dtype, other.shape, other.layout):
        return False
    these, those = _strided(one.detach()), _strided(other.detach())
    return len(these) == len(those) and all(
        this.shape == that.shape and torch.equal(_bytes(this), _bytes(that))
        for this, that in zip(these, those, strict=True)
    )


def _strided(tensor: Tensor) -> tuple[Tensor, ...]:
    """The strided tensors that a tensor consists of: indices and values if it is sparse."""
    if tensor.is_quantized:
        return tensor.int_repr(), *_quantizer(tensor)
    match tensor.layout:
        case torch.strided:
            return (tensor,)
        case torch.sparse_coo:
            return tensor._indices(), tensor._values()
        case torch.sparse_csr | torch.sparse_bsr:
            return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    return tensor.ccol_indices(), tensor.row_indices(), tensor.values()


def _quantizer(tensor: Tensor) -> tuple[Tensor, ...]:
    """Scales, zero points and, where each channel has its own, their axis."""
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        scale = torch.tensor([tensor.q_scale()], dtype=torch.float64)
        return scale, torch.tensor([tensor.q_zero_point()])
    axis = torch.tensor([tensor.q_per_channel_axis()])
    return tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points(), axis


def _bytes(tensor: Tensor) -> Tensor:
    plain = tensor.as_subclass(Tensor).resolve_conj().resolve_neg().cpu()
    return plain.contiguous().reshape(-1).view(torch.uint8)


def _equal_each(one: Iterable[Any], other: Iterable[Any], depth: int) -> bool:
    missing = object()
    pairs = zip_longest(one, other, fillvalue=missing)
    return all(equal(this, that, depth) for this, that in pairs)


def _equal_parts(one: str | tuple[Any, ...], other: str | tuple[Any, ...], depth: int) -> bool:
    """Compare results of `__reduce_ex__`: a callable, its arguments, a state, items of lists and dicts."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return _equal_each(map(_listed, one), map(_listed, other), depth)


def _listed(part: Any) -> Any:
    """Return a part of a reduction, with an iterator of items as a list."""
    return list(part) if hasattr(part, "__next__") else part
