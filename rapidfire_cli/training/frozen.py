"""Frozen weights: tensors that create_model recreates, so that a checkpoint holds only their hashes.

Theory of operation. When a model is created, the tensors that training is not expected to change are hashed:
parameters with `requires_grad=False`, and large buffers that are not in the `state_dict`. As long as such a
tensor is frozen and has this hash, checkpoints and weights files omit it. After it is unfrozen or written to,
it is ordinary state for the rest of the run. When a run continues, the tensors that create_model makes must
have the hashes in the checkpoint.

Changes are detected by hashing again when the run is saved, because a write through `.data`, NumPy or a view
leaves no other trace. xxh3 hashes 10 GB/s on one core (measured), which is cheap compared with the forward
passes between two checkpoints.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import xxhash
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rapidfire_cli.training.attributes import registered
from rapidfire_cli.training.shards import is_shard, local

if TYPE_CHECKING:
    from rapidfire_cli.training.weight_pool import Stored

LARGE = 2**16  # bytes: larger buffers are hashed, smaller ones saved (assumed)
BLOCK = 2**22  # words hashed at once on a GPU: 32 MiB (assumed)
MULTIPLIERS = (-4658895280553007687, -7723592293110705685)  # of splitmix64, as signed integers
STEP = -7046029254386353131  # the golden ratio in 64 bits, as splitmix64 has it
SHIFTS = (30, 27, 31)
PLAIN = (Tensor, nn.Parameter, nn.Buffer)


@dataclass(slots=True, eq=False, weakref_slot=True)
class Frozen:
    """The frozen weights of a run's model: hashes by tensor name, computed before any training."""

    hashes: dict[str, str]
    marks: dict[str, str] = field(default_factory=dict)  # hashes of the same tensors, computed on the GPU
    stored: dict[str, "Stored"] = field(default_factory=dict)  # in the pool, where other runs may use them

    def drop_changed(self, model: nn.Module, trusted: Collection[str] = ()) -> None:
        """Drop the tensors that are unfrozen or changed; they are ordinary state from now on.

        Tensors that share memory with one that is not frozen are dropped too. The `trusted` are not hashed
        again.
        """
        if not self.hashes:
            return
        tensors = registered(model)
        self.forget([name for name in self.hashes if not is_remade(tensors.get(name))])
        unsure = [name for name in self.hashes if name not in trusted]
        self.forget([name for name in unsure if not self.is_unchanged(name, tensors[name])])
        own = {id(tensors[name]) for name in self.hashes}
        beside = {address(each) for each in tensors.values() if id(each) not in own}
        self.forget([name for name in self.hashes if address(tensors[name]) in beside])

    def is_unchanged(self, name: str, tensor: Tensor | None) -> bool:
        """Whether the tensor has the bytes that the tensor of this name had when it was created."""
        if tensor is None or not is_plain(tensor):
            return False
        if is_shard(tensor):
            return self.marks.get(name) == _mark(local(tensor))
        if tensor.device.type == "cpu":
            return hashed(tensor) == self.hashes[name]
        return name in self.marks and mixed(tensor) == self.marks[name]

    @property
    def shared(self) -> set[str]:
        """The names of tensors that other runs use too; they were unchanged when the last turn ended."""
        return {name for name, stored in self.stored.items() if len(stored.holders) > 1}

    def mark(self, name: str) -> str:
        """Return the hash that detects changes of the tensor on its device."""
        return self.marks.get(name, self.hashes[name])

    def release(self) -> None:
        """Give up the shared tensors, which stay with the other runs."""
        for stored in self.stored.values():
            stored.holders.discard(self)
        self.stored.clear()

    def settle(self, model: nn.Module) -> None:
        """Compute the hashes of the tensors after the model was moved to its device, or was sharded."""
        tensors = registered(model)
        self.marks = {
            name: _mark(local(tensor))
            for name in self.hashes
            if (tensor := tensors[name]) is not None and (tensor.device.type != "cpu" or is_shard(tensor))
        }

    def forget(self, names: Collection[str]) -> None:
        """Treat these tensors as ordinary state."""
        for name in names:
            self.hashes.pop(name, None)


def frozen(model: nn.Module) -> Frozen:
    """Return the frozen weights of a model that was just created."""
    return Frozen({name: hashed(tensor) for name, tensor in _candidates(model)})


def mismatches(wanted: Mapping[str, str], frozen: Frozen, model: nn.Module) -> list[str]:
    """Return the names of tensors that create_model did not recreate with these hashes."""
    tensors = registered(model)

    def now(name: str) -> str | None:
        tensor = tensors.get(name)
        return frozen.hashes.get(name) or (
            hashed(tensor) if tensor is not None and is_plain(tensor) else None
        )

    return [name for name, told in wanted.items() if now(name) != told]


def is_remade(tensor: Tensor | None) -> bool:
    """Whether the tensor is frozen and can be hashed, so that create_model recreates it."""
    return tensor is not None and is_plain(tensor) and not tensor.requires_grad


def is_plain(tensor: Tensor) -> bool:
    """Whether the tensor's elements are bytes that can be hashed and shared, and no two overlap."""
    if is_shard(tensor):
        return True
    return (
        type(tensor) in PLAIN
        and not is_lazy(tensor)
        and tensor.layout is torch.strided
        and not (
            tensor.is_nested or tensor.is_meta or tensor.is_quantized or tensor.is_conj() or tensor.is_neg()
        )
        and tensor.numel() > 0
        and all(stride > 0 or size == 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))
    )


def hashed(tensor: Tensor) -> str:
    """Return a hash of dtype, layout and bytes; it is equal on every device."""
    digest = xxhash.xxh3_128(f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()}".encode())
    digest.update(_bytes(tensor.detach().cpu()).numpy().data)
    return digest.hexdigest()


def _mark(part: Tensor) -> str:
    """Return the hash that detects changes of a tensor in this process's memory."""
    return hashed(part) if part.device.type == "cpu" else mixed(part)


def mixed(tensor: Tensor) -> str:
    """Return a hash computed on the tensor's device: the sum of splitmix64 over words and positions."""
    content = _bytes(tensor.detach())
    content = nn.functional.pad(content, (0, -len(content) % 8)).view(torch.int64)
    total = 0
    for at, words in enumerate(torch.split(content, BLOCK)):
        places = torch.arange(at * BLOCK, at * BLOCK + len(words), device=words.device)
        total += int(_splitmix(words + _splitmix(places * STEP)).sum())
    return f"{total % 2**64:016x}"


def _splitmix(words: Tensor) -> Tensor:
    for shift, multiplier in zip(SHIFTS, MULTIPLIERS, strict=False):
        words = (words ^ _shifted(words, shift)) * multiplier
    return words ^ _shifted(words, SHIFTS[-1])


def _shifted(words: Tensor, by: int) -> Tensor:
    """Shift to the right, filling with zeros."""
    return torch.bitwise_and(words >> by, 2 ** (64 - by) - 1)


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def _candidates(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield frozen parameters and large non-persistent buffers that share no memory with other tensors."""
    tensors = {name: each for name, each in registered(model).items() if each is not None}
    hidden = _non_persistent(model)
    found = {
        name: tensor
        for name, tensor in tensors.items()
        if is_remade(tensor)
        and (isinstance(tensor, nn.Parameter) or (name in hidden and tensor.nbytes >= LARGE))
    }
    chosen = {id(tensor) for tensor in found.values()}
    beside = {address(tensor) for tensor in tensors.values() if id(tensor) not in chosen}
    seen: set[int] = set()
    for name, tensor in found.items():
        if id(tensor) not in seen and address(tensor) not in beside:
            seen.add(id(tensor))  # a tied tensor counts under its first name
            yield name, tensor


def _non_persistent(model: nn.Module) -> set[str]:
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        for name in module._non_persistent_buffers_set
    }


def address(tensor: Tensor | None) -> int:
    """Return the address of the tensor's storage; 0 if it has none."""
    if tensor is None or is_lazy(tensor) or tensor.layout is not torch.strided:
        return 0
    return local(tensor).untyped_storage().data_ptr()
