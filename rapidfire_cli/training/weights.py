"""A model's weights as a file that others can read: safetensors where it holds them, else torch's own format.

The weights are what the model's `state_dict` says. safetensors holds strided tensors of most dtypes, each
with bytes of its own; a sparse buffer, complex128 or extra state needs torch's format, which is read with
`torch.load(weights_only=True)`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rapidfire_cli.durable import disk
from rapidfire_cli.durable.failpoints import failpoint
from rapidfire_cli.training.failure import Failure, one_line

SAFETENSORS, TORCH = ".safetensors", ".pt"
DTYPES = frozenset(
    {
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
        *(torch.float8_e4m3fn, torch.float8_e5m2),
    }
)
"""What safetensors 0.6 and torch both know."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's weights, by the names of its `state_dict`."""

    tensors: Mapping[str, Tensor]  # each with bytes of its own; everything when `plain` is false
    same: Mapping[str, str]  # names of tensors that are another one under a second name, by name
    plain: bool  # whether safetensors holds them

    @property
    def suffix(self) -> str:
        """Of the file that holds them."""
        return SAFETENSORS if self.plain else TORCH

    def write(self, path: Path) -> None:
        """Write the file. Raises OSError, and what safetensors raises."""
        if self.plain:
            failpoint("write", path)
            tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
            save_file(tensors, path, metadata={**self.same} or None)
        else:
            with disk.create(path) as file:
                torch.save(dict(self.tensors), file)

    def copied(self) -> "Weights":
        """The same weights, on the CPU, whatever becomes of the model."""
        tensors: dict[str, Any] = {
            name: tensor.detach().cpu().clone() if isinstance(tensor, Tensor) else tensor
            for name, tensor in self.tensors.items()
        }
        return Weights(tensors, self.same, self.plain)


def weights(model: nn.Module) -> Weights:
    """What the model's `state_dict` says now; the tensors are the model's own."""
    said = {
        name: value
        for name, value in model.state_dict().items()
        if not is_lazy(value)  # of a lazy module that was never called
    }
    if not all(_is_plain(value) for value in said.values()):
        return Weights(said, {}, plain=False)
    first: dict[tuple[Any, ...], str] = {}
    same: dict[str, str] = {}
    apart: dict[str, Tensor] = {}
    taken: set[int] = set()  # storages that a tensor before lies in
    for name, tensor in said.items():
        storage = tensor.untyped_storage().data_ptr()
        key = (storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and key in first:
            same[name] = first[key]
            continue
        first[key] = name
        apart[name] = tensor.clone() if storage in taken and tensor.numel() else tensor
        taken.add(storage)
    return Weights(apart, same, plain=True)


def read(path: Path) -> dict[str, Tensor]:
    """The tensors in a file of weights, on the CPU. Raises what the libraries raise."""
    if path.suffix == SAFETENSORS:
        return load_file(path)
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    return {name: value for name, value in loaded.items() if isinstance(value, Tensor)}


def put(model: nn.Module, path: Path) -> None:
    """Load a file of weights into a model of the same form. Raises Failure where it does not fit."""
    found = load_file(path) if path.suffix == SAFETENSORS else torch.load(path, "cpu", weights_only=True)
    again = {name: found[first] for name, first in _second_names(path).items()}
    try:
        told = model.load_state_dict({**found, **again}, strict=False)
    except RuntimeError as error:  # of another shape
        raise Failure("checkpoint", f"{path} does not fit the model: {one_line(error)}") from error
    if other := [*told.missing_keys, *told.unexpected_keys]:
        has = "lacks" if told.missing_keys else "has"
        raise Failure("checkpoint", f"{path} does not fit the model: it {has} `{other[0]}`")


def _second_names(path: Path) -> dict[str, str]:
    """The names of tensors that are another one under a second name, by name."""
    if path.suffix != SAFETENSORS:
        return {}
    with safe_open(path, "pt") as file:
        return {**(file.metadata() or {})}


def nbytes(tensor: Tensor) -> int:
    """The bytes of a tensor of any layout; none where it has no shape yet."""
    if is_lazy(tensor):
        return 0
    if tensor.layout is torch.strided:
        return tensor.nbytes
    parts = (tensor._indices(), tensor._values()) if tensor.layout is torch.sparse_coo else (tensor.values(),)
    return sum(part.nbytes for part in parts)


def _is_plain(value: Any) -> bool:
    return (
        type(value) in (Tensor, nn.Parameter)
        and value.layout is torch.strided
        and value.dtype in DTYPES
        and not (value.is_meta or value.is_quantized or value.is_conj() or value.is_neg())
    )
