"""The state of a run: everything that the bits of its further training depend on.

Theory of operation. A checkpoint is two files. The weights file (`training/weights.py`) is what people read;
the state file is the rest, as tensors and plain data that `torch.load(weights_only=True)` reads. A registered
tensor comes from the weights file if it is in there unchanged in form: same shape, strides and dtype as when
the model was made, and sharing its memory with no other tensor. Any other one is in the state file: lazy
parameters, buffers that grew or were None, sparse or expanded tensors, views of one tensor. Those replace
what the new model has, so that tensors which shared memory share it again.

The optimizer's state is kept by parameter name and put back as it was; torch's `load_state_dict` would change
dtypes. What objects hold as plain Python data is `training/attributes.py`'s.
"""

import copy
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedParameter, is_lazy

from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.terms import TRAIN
from rapidfire_cli.training import attributes, rng
from rapidfire_cli.training.attributes import Attributes, Unholdable, registered
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.feeds import moved
from rapidfire_cli.training.run import Run
from rapidfire_cli.training.weights import Weights, weights

PLAIN = (type(None), bool, int, float, complex, str, bytes, Tensor, nn.Parameter, torch.Size, torch.dtype)
"""What `torch.load(weights_only=True)` reads without being told more; devices, too."""

Form: TypeAlias = tuple[Any, ...] | None
"""Shape, strides, dtype and layout of a tensor; None where there is none yet."""


@dataclass(frozen=True, slots=True)
class Origins:
    """What a run's objects were when they were made, before any training."""

    attributes: Attributes
    forms: Mapping[str, Form]  # of the model's registered tensors
    modules: frozenset[str]


def origins(model: nn.Module, spec: MLSpec) -> Origins:
    """What they are now. An MLSpec that says its own state by `state_dict` is taken at its word."""
    roots: dict[str, object] = {attributes.MODEL: model}
    if not speaks(spec):
        roots["self"] = spec
    forms = {name: _form(tensor) for name, tensor in registered(model).items()}
    return Origins(Attributes(roots, model), forms, frozenset(name for name, _ in model.named_modules()))


def speaks(spec: MLSpec) -> bool:
    """Whether the MLSpec says its own state."""
    return type(spec).state_dict is not MLSpec.state_dict


def packed(run: Run, now: Weights) -> dict[str, Any]:
    """The state at an optimizer step's end, beside the weights of `now`. Raises Failure."""
    tensors = registered(run.model)
    _check_structure(run, tensors)
    held = run.rewound.attributes if run.rewound else held_attributes(run)
    state = {
        "position": (run.epoch, run.done, run.step),
        "seconds": run.seconds,
        "model": _packed_model(run, tensors, now, held),
        "attributes": held,
        "optimizer": _packed_optimizer(run),
        "scheduler": run.schedule.scheduler.state_dict() if run.schedule else None,
        "scaler": run.scaler.state_dict(),
        "tally": run.tallies[TRAIN].state(),
        "spec": run.rewound.spec if run.rewound else own_state(run),
        "streams": rng.pack(run.rewound.streams if run.rewound else run.streams),
        "settings": run.settings.packed(run.opened),
    }
    if (strange := _strange(state)) is not None:
        raise Failure("state", f"the run's state cannot be kept by a checkpoint: it holds a {strange}")
    return state


def unpack(run: Run, state: dict[str, Any], read: Mapping[str, Tensor]) -> None:
    """Put everything back; the random streams last, as they come into force when the run trains."""
    _unpack_model(run.model, state["model"], read, run.device)
    run.origins.attributes.restore(moved(state["attributes"], run.device))
    run.epoch, run.done, run.step = state["position"]
    run.seconds = state["seconds"]
    _unpack_optimizer(run, moved(state["optimizer"], run.device))
    if run.schedule:
        run.schedule.scheduler.load_state_dict(state["scheduler"])
    run.scaler.load_state_dict(state["scaler"])
    run.tallies[TRAIN].restore(moved(state["tally"], run.device))
    if speaks(run.spec):
        run.spec.load_state_dict(state["spec"])
    run.streams = rng.unpack(state["streams"])
    run.settings.unpack(state.get("settings", {}))


def check_state(run: Run) -> None:
    """Raises Failure where a checkpoint could not hold the run, asked before its first epoch is trained."""
    packed(run, weights(run.model))


def held_attributes(run: Run) -> attributes.State:
    """The plain attributes that changed in training. Raises Failure where one cannot be held."""
    try:
        return run.origins.attributes.changed()
    except Unholdable as reason:
        raise Failure("state", str(reason)) from None


def own_state(run: Run) -> dict[str, Any]:
    """What the MLSpec's own `state_dict` says. Raises Failure where it could not be read back."""
    state = run.spec.state_dict()
    if (strange := _strange(state)) is not None:
        raise Failure("error", f"state_dict must return tensors and plain data, not {strange}")
    return state


def difference(one: Run, other: Run) -> str | None:
    """What the states of two runs differ in, in words; None where they are the same bits. Raises Failure."""
    place = _difference(_comparable(one), _comparable(other), ())
    return f"`{'.'.join(map(str, place))}` differs" if place else None


def _comparable(run: Run) -> dict[str, Any]:
    """Everything that must be equal in two runs that are the same."""
    state = packed(run, weights(run.model))
    del state["seconds"]
    return {**state, "model": {**state["model"], "elsewhere": registered(run.model)}}


def _difference(one: Any, other: Any, at: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The first place at which two pieces of plain data differ."""
    parts: Iterable[tuple[Any, Any, Any]]
    match one, other:
        case Tensor(), Tensor():
            return None if _same_bits(one, other) else at
        case dict(), dict():
            if one.keys() != other.keys():
                return (*at, *_named(sorted(one.keys() ^ other.keys(), key=repr)[0]))
            parts = ((key, one[key], other[key]) for key in one)
        case list() | tuple(), list() | tuple() if len(one) == len(other):
            parts = zip(range(len(one)), one, other, strict=True)
        case _:
            return None if type(one) is type(other) and repr(one) == repr(other) else at
    found = (_difference(mine, theirs, (*at, *_named(key))) for key, mine, theirs in parts)
    return next((place for place in found if place), None)


def _named(key: Any) -> tuple[Any, ...]:
    """A step of the place that a person reads."""
    return (attributes.spelled(key),) if isinstance(key, tuple) else (key,)


def _same_bits(one: Tensor, other: Tensor) -> bool:
    if is_lazy(one) or is_lazy(other):
        return type(one) is type(other)
    if (one.dtype, one.shape, one.layout) != (other.dtype, other.shape, other.layout):
        return False
    return torch.equal(_bytes(one), _bytes(other))


def _bytes(tensor: Tensor) -> Tensor:
    dense = tensor.detach() if _is_strided(tensor) else tensor.detach().to_dense()
    return dense.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)


# What a validation may change


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What of a run evaluation may change, copied: streams, attributes, buffers, the MLSpec's own state."""

    streams: rng.Streams
    attributes: attributes.State
    buffers: Mapping[str, Tensor | None]
    parameters: Mapping[str, Tensor]  # that share their memory with something else
    spec: dict[str, Any]


def snapshot(run: Run) -> Snapshot:
    """A copy in which what shares memory still does. Raises Failure."""
    streams, spec = rng.capture(), own_state(run) if speaks(run.spec) else {}
    held, tensors = held_attributes(run), registered(run.model)
    shared = _shared_storages([*tensors.values(), *_tensors(held)])
    parameters = {
        name: each.detach()
        for name, each in run.model.named_parameters()
        if not is_lazy(each) and _is_strided(each) and each.untyped_storage().data_ptr() in shared
    }
    buffers = {name: each for name, each in _buffers(run.model) if each is None or not is_lazy(each)}
    taken = (held, buffers, parameters, spec)
    sparse = {id(each): each.detach().clone() for each in _tensors(taken) if not _is_strided(each)}
    return Snapshot(streams, *copy.deepcopy(taken, {**sparse}))  # torch copies no compressed tensor deeply


def rewind(run: Run, taken: Snapshot) -> None:
    """Let the run's next checkpoint be of what the snapshot was taken of; then it must be opened anew."""
    for name, _ in [*_buffers(run.model)]:
        if name in taken.buffers:
            _set_buffer(run.model, name, taken.buffers[name])
    for name, parameter in run.model.named_parameters():
        if name in taken.parameters:
            parameter.data = taken.parameters[name]
    run.rewound = taken


# The model


def _packed_model(
    run: Run, tensors: Mapping[str, Tensor | None], now: Weights, held: attributes.State
) -> dict[str, Any]:
    """What of the model is not in its weights, or not as it is."""
    model = run.model
    shared = _shared_storages([*tensors.values(), *_tensors(held)])
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
            there = now.plain and _is_there(tensor, exported.get(name), run.origins.forms.get(name), shared)
            if not there:
                elsewhere[name] = tensor.detach()
    return {
        "names": tuple(tensors),
        "same": same,
        "elsewhere": elsewhere,
        "frozen": [name for name, tensor in tensors.items() if _is_frozen(tensor)],
        "lazy": [name for name, module in model.named_modules() if _is_lazy(module)],
        "evaluating": [name for name, module in model.named_modules() if not module.training],
    }


def _check_structure(run: Run, tensors: Mapping[str, Tensor | None]) -> None:
    """Raises Failure where training changed what create_model cannot make again."""
    modules = frozenset(name for name, _ in run.model.named_modules())
    if changed := sorted(modules ^ run.origins.modules):
        raise _unkept(f"the module `{changed[0]}` came or went in training")
    parameters = dict(run.model.named_parameters(remove_duplicate=False))
    for name, tensor in tensors.items():
        if name in parameters and name not in run.origins.forms:
            raise _unkept(f"the parameter `{name}` was added in training")
        known = tensor is None or type(tensor) in (Tensor, nn.Parameter, nn.Buffer) or is_lazy(tensor)
        if not known:
            raise _unkept(f"`{name}` is a {type(tensor).__name__}, a tensor of a class of its own")


def _unkept(reason: str) -> Failure:
    return Failure("state", f"the model cannot be kept by a checkpoint: {reason}")


def _is_there(tensor: Tensor, exported: Tensor | None, before: Form, shared: set[int]) -> bool:
    """Whether the weights file holds the tensor in a form that can be copied into a new model's."""
    return (
        exported is not None
        and _form(tensor) == before == _form(exported)
        and tensor.layout is torch.strided
        and tensor.untyped_storage().data_ptr() == exported.untyped_storage().data_ptr()
        and tensor.storage_offset() == exported.storage_offset()
        and tensor.untyped_storage().data_ptr() not in shared
        and not _overlaps_itself(tensor)
    )


def _unpack_model(
    model: nn.Module, packed: Mapping[str, Any], read: Mapping[str, Tensor], device: torch.device
) -> None:
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
        elif name not in elsewhere:
            assert present is not None
            _overwrite(present, read[name])
        elif isinstance(present, nn.Parameter) and (value := elsewhere[name]) is not None:
            if isinstance(present, UninitializedParameter):
                present.materialize(value.shape, device=device, dtype=value.dtype)
            present.data = value
        elif present is None or not is_lazy(present) or elsewhere[name] is not None:
            _set_buffer(model, name, elsewhere[name])
    for name, module in model.named_modules():
        if _is_lazy(module) and name not in packed["lazy"]:
            _end_laziness(module)
    frozen, evaluating = set(packed["frozen"]), set(packed["evaluating"])
    for name, parameter in model.named_parameters(remove_duplicate=False):
        parameter.requires_grad = name not in frozen
    for name, module in model.named_modules():
        module.training = name not in evaluating


def _is_lazy(module: nn.Module) -> bool:
    """Whether the module is still to infer its parameters' shapes."""
    return isinstance(module, LazyModuleMixin) and hasattr(module, "_initialize_hook")


def _end_laziness(module: Any) -> None:
    """As torch does after a lazy module's first call (LazyModuleMixin._infer_parameters, torch 2.10–2.13)."""
    for hook in ("_initialize_hook", "_load_hook"):
        getattr(module, hook).remove()
        delattr(module, hook)
    if module.cls_to_become is not None:
        module.__class__ = module.cls_to_become


def registered_at(model: nn.Module, name: str) -> Tensor | None:
    """The parameter or buffer of that dotted name."""
    module, key = _owner(model, name)
    return module._parameters[key] if key in module._parameters else module._buffers.get(key)


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, key = name.rpartition(".")
    return model.get_submodule(path), key


def _buffers(model: nn.Module) -> Iterator[tuple[str, Tensor | None]]:
    for prefix, module in model.named_modules():
        for name, buffer in module._buffers.items():
            yield f"{prefix}.{name}" if prefix else name, buffer


def _set_buffer(model: nn.Module, name: str, value: Tensor | None) -> None:
    module, key = _owner(model, name)
    if key in module._parameters:  # one that is None
        assert value is None
    else:
        module._buffers[key] = value


def _overwrite(tensor: Tensor, source: Tensor) -> None:
    """Copy the bytes, outside of any graph; a tensor that overlaps itself is written through its storage."""
    with torch.no_grad():
        if _overlaps_itself(tensor):
            tensor.untyped_storage().copy_(source.to(tensor.device).untyped_storage())
        else:
            tensor.copy_(source)


def _form(tensor: Tensor | None) -> Form:
    if tensor is None or is_lazy(tensor):
        return None
    strides = tensor.stride() if tensor.layout is torch.strided else None
    return tensor.shape, strides, tensor.dtype, tensor.layout


def _is_strided(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided


def _is_frozen(tensor: Tensor | None) -> bool:
    return isinstance(tensor, nn.Parameter) and not tensor.requires_grad


def _overlaps_itself(tensor: Tensor) -> bool:
    """Whether two of its elements lie at one place, as in an expanded tensor."""
    return any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))


def _shared_storages(tensors: list[Tensor | None]) -> set[int]:
    """The addresses of storages in which more than one tensor lies."""
    owners: dict[int, int] = {}
    shared = set()
    for tensor in tensors:
        if tensor is None or is_lazy(tensor) or tensor.layout is not torch.strided:
            continue
        address = tensor.untyped_storage().data_ptr()
        if owners.setdefault(address, id(tensor)) != id(tensor) and address:
            shared.add(address)
    return shared


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors within plain data."""
    match value:
        case Tensor():
            yield value
        case dict():
            for each in value.values():
                yield from _tensors(each)
        case list() | tuple():
            for each in value:
                yield from _tensors(each)


def _moved_together(tensors: Mapping[str, Tensor | None], device: torch.device) -> dict[str, Tensor | None]:
    """The tensors on the device, those that share memory sharing it there."""
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


# The optimizer


def _packed_optimizer(run: Run) -> dict[str, Any]:
    """Hyperparameters by group and state by parameter name."""
    names = {id(parameter): name for name, parameter in run.model.named_parameters()}
    groups = [
        {**group, "params": [names[id(parameter)] for parameter in group["params"]]}
        for group in run.optimizer.param_groups
    ]
    state = {names[id(parameter)]: dict(kept) for parameter, kept in run.optimizer.state.items()}
    return {"groups": groups, "state": state}


def _unpack_optimizer(run: Run, packed: Mapping[str, Any]) -> None:
    parameters = dict(run.model.named_parameters())
    for group, kept in zip(run.optimizer.param_groups, packed["groups"], strict=True):
        group.update({key: value for key, value in kept.items() if key != "params"})
    run.optimizer.state.clear()
    for name, kept in packed["state"].items():
        run.optimizer.state[parameters[name]] = kept


def _strange(value: Any) -> str | None:
    """The type of the first thing that a checkpoint cannot hold."""
    match value:
        case dict() if type(value) in (dict, OrderedDict, Counter):
            parts = [*value, *value.values()]
        case list() | tuple() | set() if type(value) in (list, tuple, set):
            parts = list(value)
        case _:
            held = type(value) in PLAIN or isinstance(value, torch.device)
            return None if held else type(value).__name__
    return next((found for part in parts if (found := _strange(part)) is not None), None)
