"""The part of a model that is saved in the state file, because the weights file cannot restore it exactly.

A registered tensor is restored from the weights file if its form is unchanged: the same shape, strides and
dtype as when the model was created, and no memory shared with another tensor. All other tensors are in the
state file: lazy parameters, buffers that grew or were None, sparse or expanded tensors, views of one tensor.
These replace the tensors of the new model, so that tensors that shared memory share it again. Frozen weights
that create_model recreates (`training/frozen.py`) are saved only as hashes. The state file also records which
parameters are frozen and which modules are in evaluation mode.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedParameter, is_lazy

from rapidfire_cli.training.attributes import registered
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.frozen import address
from rapidfire_cli.training.shards import local
from rapidfire_cli.training.weights import Weights

LAYOUTS = (
    torch.strided,
    *(torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc),
)

Form: TypeAlias = tuple[Any, ...] | None
"""Shape, strides, dtype and layout of a tensor; None if there is no tensor yet."""


@dataclass(frozen=True, slots=True)
class Made:
    """The structure of a model when it was created."""

    forms: Mapping[str, Form]  # of registered tensors, by name
    modules: frozenset[str]
    parameters: Mapping[int, nn.Parameter]  # by id


def made(model: nn.Module) -> Made:
    """Record the model's current structure. Raises Failure if a tensor is of a kind that cannot be saved."""
    for name, tensor in registered(model).items():
        if tensor is not None and not is_lazy(tensor) and not _has_known_layout(tensor):
            kind = "nested tensor" if tensor.is_nested else f"tensor of layout {tensor.layout}"
            raise _unkept(f"`{name}` is a {kind}")
    forms = {name: form(tensor) for name, tensor in registered(model).items()}
    parameters = {id(parameter): parameter for parameter in model.parameters()}
    return Made(forms, frozenset(name for name, _ in model.named_modules()), parameters)


def packed_model(
    model: nn.Module, origin: Made, now: Weights, held: Any, hashes: Mapping[str, str]
) -> dict[str, Any]:
    """Return the part of the model that its weights file cannot restore exactly.

    `held` are plain attributes, whose tensors may share memory with the model. `hashes` are those of frozen
    weights, which need not be saved.
    """
    tensors, modules = registered(model), [*model.named_modules()]
    shared = shared_storages([*tensors.values(), *tensors_in(held)])
    remade = _remade(tensors, held, hashes)
    exported = {**now.tensors} | {name: now.tensors[first] for name, first in now.same.items()}
    first: dict[int, str] = {}
    same: dict[str, str] = {}
    elsewhere: dict[str, Tensor | None] = {}
    for name, tensor in tensors.items():
        if tensor is None or is_lazy(tensor):
            elsewhere[name] = None
        elif id(tensor) in first:
            same[name] = first[id(tensor)]
        else:
            first[id(tensor)] = name
            if name in remade:
                continue
            there = now.plain and _is_there(tensor, exported.get(name), origin.forms.get(name), shared)
            if not there:
                elsewhere[name] = tensor.detach()
    return {
        "names": tuple(tensors),
        "same": same,
        "elsewhere": elsewhere,
        "hashes": dict(hashes),
        "frozen": [name for name, tensor in tensors.items() if _is_frozen(tensor)],
        "lazy": [name for name, module in modules if _is_lazy(module)],
        "evaluating": [name for name, module in modules if not module.training],
    }


def _remade(tensors: Mapping[str, Tensor | None], held: Any, hashes: Mapping[str, str]) -> set[str]:
    """The frozen tensors that can be recreated: those that share no memory with an attribute."""
    own = {id(tensors[name]) for name in hashes}
    beside = {address(each) for each in tensors_in(held) if id(each) not in own}
    return {name for name in hashes if address(tensors[name]) not in beside}


def check_structure(model: nn.Module, origin: Made) -> None:
    """Check that create_model can recreate the model's structure. Raises Failure if training changed it."""
    modules = frozenset(name for name, _ in model.named_modules())
    if changed := sorted(modules ^ origin.modules):
        raise _unkept(f"module `{changed[0]}` was added or removed in training")
    for name, tensor in registered(model).items():
        if isinstance(tensor, nn.Parameter) and name not in origin.forms:
            raise _unkept(f"parameter `{name}` was added in training")
        if isinstance(tensor, nn.Parameter) and id(tensor) not in origin.parameters:
            hint = "write into it instead: `with torch.no_grad(): parameter.copy_(…)`"
            raise _unkept(f"parameter `{name}` was replaced by another in training; {hint}")
        known = tensor is None or type(tensor) in (Tensor, nn.Parameter, nn.Buffer) or is_lazy(tensor)
        if not known and id(tensor) not in origin.parameters:
            raise _unkept(f"`{name}` is a {type(tensor).__name__}, a custom tensor class")


def _has_known_layout(tensor: Tensor) -> bool:
    return tensor.layout in LAYOUTS and not tensor.is_nested


def _unkept(reason: str) -> Failure:
    return Failure("state", f"the model cannot be saved in a checkpoint: {reason}")


def _is_there(tensor: Tensor, exported: Tensor | None, before: Form, shared: set[int]) -> bool:
    """Whether the tensor can be restored by copying from the weights file into a new model."""
    return (
        exported is not None
        and form(tensor) == before == form(exported)
        and tensor.layout is torch.strided
        and tensor.untyped_storage().data_ptr() == exported.untyped_storage().data_ptr()
        and tensor.storage_offset() == exported.storage_offset()
        and tensor.untyped_storage().data_ptr() not in shared
        and not overlaps_itself(tensor)
    )


def unpack_model(
    model: nn.Module, packed: Mapping[str, Any], read: Mapping[str, Tensor], device: torch.device
) -> None:
    """Restore the result of `packed_model` into a model that was just created; `read` are the weights."""
    elsewhere = _moved_together(packed["elsewhere"], device)
    tensors = registered(model)
    for name in tensors.keys() - set(packed["names"]):
        module, key = _owner(model, name)
        del module._buffers[key]
    model.train()
    for name in packed["names"]:
        source = packed["same"].get(name, name)
        present = registered_at(model, name)
        if source != name:
            first = registered_at(model, source)
            if first is not present:
                module, key = _owner(model, name)
                kept: dict[str, Any] = (
                    module._parameters if isinstance(first, nn.Parameter) else module._buffers
                )
                kept[key] = first
        elif name not in elsewhere and name in packed.get("hashes", ()):
            continue
        elif name not in elsewhere:
            assert present is not None
            overwrite(present, read[name])
        elif isinstance(present, nn.Parameter) and (value := elsewhere[name]) is not None:
            if isinstance(present, UninitializedParameter):
                present.materialize(value.shape, device=device, dtype=value.dtype)
            present.data = value
        elif present is None or not is_lazy(present) or elsewhere[name] is not None:
            set_buffer(model, name, elsewhere[name])
    for name, module in model.named_modules():
        if _is_lazy(module) and name not in packed["lazy"]:
            _end_laziness(module)
    frozen, evaluating = set(packed["frozen"]), set(packed["evaluating"])
    for name, parameter in model.named_parameters(remove_duplicate=False):
        parameter.requires_grad = name not in frozen
    for name, module in model.named_modules():
        module.training = name not in evaluating


def _is_lazy(module: nn.Module) -> bool:
    """Whether the module has not yet inferred its parameters' shapes."""
    return isinstance(module, LazyModuleMixin) and hasattr(module, "_initialize_hook")


def _end_laziness(module: Any) -> None:
    """Finish a lazy module as torch does at its first call (_infer_parameters, torch 2.10–2.13)."""
    for hook in ("_initialize_hook", "_load_hook"):
        getattr(module, hook).remove()
        delattr(module, hook)
    if module.cls_to_become is not None:
        module.__class__ = module.cls_to_become


def registered_at(model: nn.Module, name: str) -> Tensor | None:
    """Return the parameter or buffer with that dotted name."""
    module, key = _owner(model, name)
    kept = module._parameters if key in module._parameters else module._buffers
    return kept[key] if key in kept else None  # noqa: SIM401 - those of ScriptModules have no `get`


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, key = name.rpartition(".")
    return model.get_submodule(path), key


def buffers(model: nn.Module) -> Iterator[tuple[str, Tensor | None]]:
    for prefix, module in model.named_modules():
        for name, buffer in module._buffers.items():
            yield f"{prefix}.{name}" if prefix else name, buffer


def set_buffer(model: nn.Module, name: str, value: Tensor | None) -> None:
    module, key = _owner(model, name)
    if key in module._parameters:  # one that is None
        assert value is None
    else:
        module._buffers[key] = value


def overwrite(tensor: Tensor, source: Tensor) -> None:
    """Copy the bytes without autograd; a tensor that overlaps itself is written through its storage."""
    with torch.no_grad():
        if overlaps_itself(tensor):
            tensor.untyped_storage().copy_(source.to(tensor.device).untyped_storage())
        else:
            tensor.copy_(source)


def form(tensor: Tensor | None) -> Form:
    if tensor is None or is_lazy(tensor):
        return None
    strides = tensor.stride() if tensor.layout is torch.strided else None
    return tensor.shape, strides, tensor.dtype, tensor.layout


def is_strided(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided


def _is_frozen(tensor: Tensor | None) -> bool:
    return isinstance(tensor, nn.Parameter) and not tensor.requires_grad


def overlaps_itself(tensor: Tensor) -> bool:
    """Whether two elements of the tensor have the same address, as in an expanded tensor."""
    return any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))


def shared_storages(tensors: list[Tensor | None]) -> set[int]:
    """Return the addresses of storages that contain more than one tensor."""
    owners: dict[int, int] = {}
    shared = set()
    for tensor in tensors:
        if tensor is None or is_lazy(tensor) or tensor.layout is not torch.strided:
            continue
        address = local(tensor).untyped_storage().data_ptr()
        if owners.setdefault(address, id(tensor)) != id(tensor) and address:
            shared.add(address)
    return shared


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors within plain data."""
    match value:
        case Tensor():
            yield value
        case dict():
            for each in value.values():
                yield from tensors_in(each)
        case list() | tuple():
            for each in value:
                yield from tensors_in(each)


def _moved_together(tensors: Mapping[str, Tensor | None], device: torch.device) -> dict[str, Tensor | None]:
    """Return the tensors moved to the device; tensors that share memory share it there too."""
    if device.type == "cpu":
        return {**tensors}
    storages: dict[int, Any] = {}
    found: dict[str, Tensor | None] = {}
    for name, tensor in tensors.items():
        if tensor is None or tensor.layout is not torch.strided:
            found[name] = None if tensor is None else tensor.to(device)
            continue
        storage = tensor.untyped_storage()
        placed = storages.setdefault(storage.data_ptr(), storage.to(device=device))
        empty = torch.empty(0, dtype=tensor.dtype, device=device)
        found[name] = empty.set_(placed, tensor.storage_offset(), tensor.shape, tensor.stride())
    return found
