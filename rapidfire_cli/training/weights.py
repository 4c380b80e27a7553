"""A model's weights as a file for other programs: safetensors if possible, or else torch's own format.

The weights are the content of the model's `state_dict`. safetensors supports strided tensors of most dtypes
that share no memory. A sparse buffer, complex128 or extra state needs torch's format, which is read with
`torch.load(weights_only=True)`. For frozen weights (`training/frozen.py`), safetensors holds only the hashes,
as metadata; torch's format holds them in full.
"""

import json
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
from rapidfire_cli.training.attributes import registered
from rapidfire_cli.training.failure import Failure, one_line
from rapidfire_cli.training.frozen import hashed

SAFETENSORS, TORCH = ".safetensors", ".pt"
FROZEN = "rapidfire.frozen"  # metadata key: hashes of omitted tensors, by name, as JSON
DTYPES = frozenset(
    {
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
        *(torch.float8_e4m3fn, torch.float8_e5m2),
    }
)
"""The dtypes that both safetensors 0.6 and torch support."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's weights, by the names of its `state_dict`."""

    tensors: Mapping[str, Tensor]  # tensors that share no memory; everything if `plain` is false
    same: Mapping[str, str]  # second names of tensors: the first name by the second
    frozen: Mapping[str, str]  # hashes of frozen weights, which are omitted, by name
    plain: bool  # whether safetensors can hold them

    @property
    def suffix(self) -> str:
        """The suffix of the file that holds the weights."""
        return SAFETENSORS if self.plain else TORCH

    def write(self, path: Path) -> None:
        """Write the weights to a file. Raises OSError, and what safetensors raises."""
        if self.plain:
            failpoint("write", path)
            tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
            frozen = {FROZEN: json.dumps(dict(self.frozen))} if self.frozen else {}
            save_file(tensors, path, metadata={**self.same, **frozen} or None)
        else:
            with disk.create(path) as file:
                torch.save(dict(self.tensors), file)

    def copied(self) -> "Weights":
        """Return a copy of the weights on the CPU, which does not change with the model."""
        tensors: dict[str, Any] = {
            name: tensor.detach().cpu().clone() if isinstance(tensor, Tensor) else tensor
            for name, tensor in self.tensors.items()
        }
        return Weights(tensors, self.same, self.frozen, self.plain)


def weights(model: nn.Module, hashes: Mapping[str, str]) -> Weights:
    """Return the tensors of the model's current `state_dict`, without those that `hashes` names."""
    said = {
        name: value
        for name, value in model.state_dict().items()
        if not is_lazy(value)  # a lazy module that was never called
    }
    if not all(_is_plain(value) for value in said.values()):
        return Weights(said, {}, {}, plain=False)
    tensors = registered(model)
    left_out = {_place(each): told for name, told in hashes.items() if (each := tensors[name]) is not None}
    frozen: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    same: dict[str, str] = {}
    apart: dict[str, Tensor] = {}
    taken: set[int] = set()  # storages of the tensors so far
    for name, tensor in said.items():
        key = _place(tensor)
        storage = key[0]
        if key in left_out:
            frozen[name] = left_out[key]
            continue
        if tensor.numel() and key in first:
            same[name] = first[key]
            continue
        first[key] = name
        apart[name] = tensor.clone() if storage in taken and tensor.numel() else tensor
        taken.add(storage)
    return Weights(apart, same, frozen, plain=True)


def read(path: Path) -> dict[str, Tensor]:
    """Read the tensors in a file of weights, on the CPU. Raises what the libraries raise."""
    if path.suffix == SAFETENSORS:
        return load_file(path)
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    return {name: value for name, value in loaded.items() if isinstance(value, Tensor)}


def stored(path: Path) -> dict[str, Tensor | None]:
    """Read a file of weights, with all names of each tensor; None for frozen weights that it omits."""
    same, frozen = _metadata(path)
    tensors: dict[str, Tensor | None] = {**read(path)}
    return tensors | {name: tensors[first] for name, first in same.items()} | dict.fromkeys(frozen)


def put(model: nn.Module, path: Path, made: Mapping[str, Tensor]) -> None:
    """Load a file of weights into a model of the same form; `made` are frozen weights that it may omit.

    Raises Failure if it does not fit.
    """
    found = load_file(path) if path.suffix == SAFETENSORS else torch.load(path, "cpu", weights_only=True)
    again, frozen = _metadata(path)
    more = {name: found[first] for name, first in again.items()}
    more |= {name: made[name] for name in frozen if name in made}
    try:
        told = model.load_state_dict({**found, **more}, strict=False)
    except RuntimeError as error:  # a tensor has another shape
        raise Failure("checkpoint", f"{path} does not fit the model: {one_line(error)}") from error
    now = model.state_dict()
    missing = [name for name in told.missing_keys if name not in frozen or hashed(now[name]) != frozen[name]]
    if other := [*missing, *told.unexpected_keys]:
        has = "lacks" if missing else "has"
        raise Failure("checkpoint", f"{path} does not fit the model: it {has} `{other[0]}`")


def _metadata(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Read the second names of tensors, and the hashes of omitted tensors."""
    if path.suffix != SAFETENSORS:
        return {}, {}
    with safe_open(path, "pt") as file:
        same = {**(file.metadata() or {})}
    frozen: dict[str, str] = json.loads(same.pop(FROZEN, "{}"))
    return same, frozen


def nbytes(tensor: Tensor) -> int:
    """Return the bytes of a tensor of any layout; 0 if it has no shape yet."""
    if is_lazy(tensor):
        return 0
    if tensor.layout is torch.strided:
        return tensor.nbytes
    parts = (tensor._indices(), tensor._values()) if tensor.layout is torch.sparse_coo else (tensor.values(),)
    return sum(part.nbytes for part in parts)


def _place(tensor: Tensor) -> tuple[Any, ...]:
    """Return the location of the tensor's elements in memory."""
    storage = tensor.untyped_storage().data_ptr()
    return storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


def _is_plain(value: Any) -> bool:
    return (
        type(value) in (Tensor, nn.Parameter)
        and value.layout is torch.strided
        and value.dtype in DTYPES
        and not (value.is_meta or value.is_quantized or value.is_conj() or value.is_neg())
    )
