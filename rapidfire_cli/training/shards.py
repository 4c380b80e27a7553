"""The part of a tensor that this process holds: a sharded tensor is divided over the ranks of a gang."""

import torch
from torch import Tensor


def is_shard(tensor: Tensor | None) -> bool:
    """Whether the tensor is divided over the ranks of a gang (a DTensor, whose import takes time)."""
    return tensor is not None and hasattr(tensor, "to_local")


def local(tensor: Tensor) -> Tensor:
    """Return the part of the tensor that is in this process's memory; an ordinary tensor as it is."""
    if not is_shard(tensor):
        return tensor
    with torch.no_grad():
        part: Tensor = tensor.to_local()  # type: ignore[attr-defined]
    return part
