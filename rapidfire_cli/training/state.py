"""The state of a run: everything that the bits of its further training depend on.

Theory of operation. A checkpoint consists of two files. The weights file (`training/weights.py`) is for
users. The state file holds the rest, as tensors and plain data that `torch.load(weights_only=True)` reads:
the part of the model that is not in its weights (`training/model_state.py`), plain attributes
(`training/attributes.py`), and what this module collects.

The optimizer's state is saved by parameter name and restored unchanged; torch's `load_state_dict` would
change dtypes.
"""

import copy
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.terms import TRAIN, VALIDATION
from rapidfire_cli.training import attributes, rng, user_code
from rapidfire_cli.training.attributes import Attributes, Unholdable, registered
from rapidfire_cli.training.batches import moved
from rapidfire_cli.training.equality import equal
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.frozen import Frozen, address, mismatches
from rapidfire_cli.training.live_run import LiveRun
from rapidfire_cli.training.log import say
from rapidfire_cli.training.model_state import (
    Made,
    buffers,
    check_structure,
    is_strided,
    made,
    overlaps_itself,
    overwrite,
    packed_model,
    registered_at,
    set_buffer,
    shared_storages,
    tensors_in,
    unpack_model,
)
from rapidfire_cli.training.optimizers import AnyOptimizer, is_of_torch, members
from rapidfire_cli.training.places import spelled
from rapidfire_cli.training.recognized import State
from rapidfire_cli.training.weights import Weights, weights
from rapidfire_cli.training.whole import divided_like

PLAIN = (type(None), bool, int, float, complex, str, bytes, Tensor, nn.Parameter, torch.Size, torch.dtype)
"""Types that `torch.load(weights_only=True)` reads without registration; devices are allowed too."""

SHOWN = 3  # names of tensors in a message

Structure: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Origins:
    """The state of a run's objects at creation, before any training."""

    attributes: Attributes
    model: Made


class Opened(Protocol):
    """The objects of a run that its methods created."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def spec(self) -> MLSpec: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def origins(self) -> Origins: ...

    @property
    def frozen(self) -> Frozen: ...


def origins(model: nn.Module, spec: MLSpec, optimizer: AnyOptimizer | None = None) -> Origins:
    """Record the current state of the objects.

    An MLSpec with its own `state_dict` is not inspected, nor are torch's optimizers.
    """
    roots: dict[str, object] = {attributes.MODEL: model}
    if not speaks(spec):
        roots["self"] = spec
    if optimizer and (own := [each for each in members(optimizer) if not is_of_torch(each)]):
        roots[attributes.OPTIMIZER] = own if len(own) > 1 else own[0]
    return Origins(Attributes(roots, model), made(model))


def speaks(spec: MLSpec) -> bool:
    """Whether the MLSpec defines its own `state_dict`."""
    return type(spec).state_dict is not MLSpec.state_dict


def packed(run: LiveRun, now: Weights) -> dict[str, Any]:
    """Return the state at the end of an optimizer step, without the weights `now`. Raises Failure."""
    check_structure(run.model, run.origins.model)
    held = run.rewound.attributes if run.rewound else held_attributes(run)
    state = {
        "position": (run.epoch, run.done, run.step),
        "stream": run.stream.state if run.stream else None,
        "seconds": run.seconds,
        "model": packed_model(run.model, run.origins.model, now, held, run.frozen.hashes),
        "attributes": held,
        "optimizer": packed_optimizer(run),
        "scheduler": run.schedule.scheduler.state_dict() if run.schedule else None,
        "scaler": run.scaler.state_dict(),
        "tally": run.epoch_metrics[TRAIN].state(),
        "validation": run.rewound.metrics if run.rewound else lasting_metrics(run),
        "spec": run.rewound.spec if run.rewound else mlspec_state(run),
        "streams": rng.pack(run.rewound.streams if run.rewound else run.streams, run.assignment.seed),
        "settings": run.settings.packed(run.opened),
    }
    if (strange := _strange(state)) is not None:
        raise Failure("state", f"the run's state cannot be saved in a checkpoint: it contains a {strange}")
    return state


def packed_rank(run: LiveRun) -> dict[str, Any]:
    """Return the part of the state that differs between the ranks of a gang. Raises Failure."""
    return {
        "streams": rng.pack(
            run.rewound.streams if run.rewound else run.streams, run.assignment.seed, run.share.rank
        ),
        "attributes": run.rewound.attributes if run.rewound else held_attributes(run),
        "spec": run.rewound.spec if run.rewound else mlspec_state(run),
        "buffers": {name: buffer.detach().cpu() for name, buffer in tensor_buffers(run.model)},
    }


def packed_ranks(everybody: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the parts of the ranks after the first, by rank, as far as they differ from the first one's."""
    own, *others = everybody
    return [
        {key: each[key] for key in each if key == "streams" or _difference(own[key], each[key], ())}
        for each in others
    ]


def tensor_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the model's buffers that are tensors with memory of their own."""
    for name, buffer in buffers(model):
        if buffer is not None and not is_lazy(buffer) and is_strided(buffer) and not overlaps_itself(buffer):
            yield name, buffer


def unpack(run: LiveRun, state: dict[str, Any], read: Mapping[str, Tensor]) -> None:
    """Restore everything into the run; its random streams take effect at its next turn."""
    ranks = state.get("ranks", [])
    is_known = len(ranks) == run.share.size - 1
    own = ranks[run.share.rank - 1] if is_known and not run.share.leads else {}
    state |= {key: own[key] for key in ("attributes", "spec") if key in own}
    unpack_trained(run, state, read)
    for name, buffer in own.get("buffers", {}).items():
        if (present := registered_at(run.model, name)) is not None:
            overwrite(present, buffer)
    run.epoch, run.done, run.step = state["position"]
    if run.stream and state.get("stream"):
        run.stream.state = state["stream"]
    run.seconds = state["seconds"]
    unpack_optimizer(run, moved(state["optimizer"], run.device))
    if run.schedule:
        run.schedule.scheduler.load_state_dict(state["scheduler"])
    run.scaler.load_state_dict(state["scaler"])
    run.epoch_metrics[TRAIN].restore(moved(state["tally"], run.device))
    if VALIDATION in run.epoch_metrics:  # checkpoints of earlier versions have nothing of it
        run.epoch_metrics[VALIDATION].restore_lasting(moved(state.get("validation"), run.device))
    if run.share.leads or own:
        run.streams = rng.unpack(own.get("streams", state["streams"]), run.assignment.seed, run.share.rank)
    if run.share.leads and not is_known:
        run.trained_by = 1 + len(ranks)
        changed = f"from {run.trained_by} to {run.share.size}"
        say(f"rapidfire: the number of devices changed {changed}: not bit for bit the same")
    run.settings.unpack(state.get("settings", {}))


def unpack_trained(made: Opened, state: Mapping[str, Any], read: Mapping[str, Tensor]) -> None:
    """Restore what a forward pass needs: the model, plain attributes, the MLSpec's own state."""
    _check_frozen(made, state["model"].get("hashes", {}))
    unpack_model(made.model, state["model"], read, made.device)
    made.origins.attributes.restore(moved(state["attributes"], made.device))
    if speaks(made.spec):
        made.spec.load_state_dict(state["spec"])


def _check_frozen(made: Opened, wanted: Mapping[str, str]) -> None:
    """Check that create_model recreated the frozen weights in the checkpoint. Raises Failure."""
    if wrong := mismatches(wanted, made.frozen, made.model):
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        names = ", ".join(f"`{name}`" for name in wrong[:SHOWN])
        place = user_code.written_at(type(made.spec).create_model)
        cause = f"create_model did not make the frozen weights that the run was trained with: {names}{more} "
        cause += f"differ from its checkpoint{place}; put back the files that they are loaded from"
        raise Failure("checkpoint", cause)
    made.frozen.forget([name for name in made.frozen.hashes if name not in wanted])


def structure(run: LiveRun) -> Structure:
    """Return what decides, besides changes by user code, whether a checkpoint can hold the run's objects."""
    tensors = tuple((name, type(each)) for name, each in registered(run.model).items())
    optimizers = tuple(map(type, members(run.optimizer)))
    return type(run.model), type(run.spec), repr(run.train.lr_scheduler), *optimizers, *tensors


def check_state(run: LiveRun) -> None:
    """Check that a checkpoint could hold all of the run's state as it is now. Raises Failure.

    A sharded model is not checked, since no process holds all of it.
    """
    if run.sharded:
        check_changes(run)
    else:
        packed(run, weights(run.model, run.frozen.hashes))


def check_changes(run: LiveRun) -> None:
    """Check what user code may have changed: modules, attributes, the MLSpec's own state. Raises Failure."""
    if (held := run.origins.attributes.recognized()) is None:
        check_structure(run.model, run.origins.model)
        held = held_attributes(run)
    if (strange := _strange([held, mlspec_state(run)])) is not None:
        raise Failure("state", f"the run's state cannot be saved in a checkpoint: it contains a {strange}")


def held_attributes(run: LiveRun) -> State:
    """Return the plain attributes that training changed. Raises Failure if one cannot be saved."""
    try:
        return run.origins.attributes.changed()
    except Unholdable as reason:
        raise Failure("state", str(reason)) from None


def lasting_metrics(run: LiveRun) -> dict[str, Any] | None:
    """Return what the metrics of validation keep between epochs. Raises Failure if it cannot be saved."""
    return run.epoch_metrics[VALIDATION].lasting() if VALIDATION in run.epoch_metrics else None


def mlspec_state(run: LiveRun) -> dict[str, Any]:
    """Return the result of the MLSpec's `state_dict`. Raises Failure if it could not be read back."""
    state = run.spec.state_dict()
    if (strange := _strange(state)) is not None:
        raise Failure("error", f"state_dict must return tensors and plain data, not {strange}")
    return state


def difference(one: LiveRun, other: LiveRun) -> str | None:
    """Describe the first difference between two runs' states; None if all bits are equal. Raises Failure."""
    place = _difference(_comparable(one), _comparable(other), ())
    return f"`{'.'.join(map(str, place))}` differs" if place else None


def _comparable(run: LiveRun) -> dict[str, Any]:
    """Return the state that must be equal in two equal runs."""
    run.frozen.drop_changed(run.model)
    state = packed(run, weights(run.model, run.frozen.hashes))
    del state["seconds"]
    return {**state, "model": {**state["model"], "elsewhere": registered(run.model)}}


def _difference(one: Any, other: Any, at: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Return the path of the first difference between two pieces of plain data; None if they are equal."""
    parts: Iterable[tuple[Any, Any, Any]]
    match one, other:
        case dict(), dict():
            if one.keys() != other.keys():
                return (*at, *_named(sorted(one.keys() ^ other.keys(), key=repr)[0]))
            parts = ((key, one[key], other[key]) for key in one)
        case ("set" | "frozenset", list(mine), _), ("set" | "frozenset", list(theirs), _):  # unordered
            return None if sorted(map(repr, mine)) == sorted(map(repr, theirs)) else at
        case list() | tuple(), list() | tuple() if len(one) == len(other):
            parts = zip(range(len(one)), one, other, strict=True)
        case _:
            return None if equal(one, other) else at
    found = (_difference(mine, theirs, (*at, *_named(key))) for key, mine, theirs in parts)
    return next((place for place in found if place), None)


def _named(key: Any) -> tuple[Any, ...]:
    """Return a step of a path in readable form."""
    return (spelled(key),) if isinstance(key, tuple) else (key,)


# What a validation may change


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of what validation may change: streams, attributes, buffers, the MLSpec's and metrics' state."""

    frozen: frozenset[str]  # parameters by name
    hashes: dict[str, str]  # of frozen weights that were unchanged
    streams: rng.Streams
    attributes: State
    buffers: Mapping[str, Tensor | None]
    parameters: Mapping[str, Tensor]  # those that share memory, or that user code may write to
    spec: dict[str, Any]
    metrics: dict[str, Any] | None
    versions: Mapping[str, int]  # of the parameters that were not copied; each write to one counts it up


def snapshot(run: LiveRun) -> Snapshot:
    """Copy the run's state; tensors that share memory share it in the copy too. Raises Failure."""
    streams, spec = rng.capture(), mlspec_state(run) if speaks(run.spec) else {}
    held, tensors = held_attributes(run), registered(run.model)
    shared = shared_storages([*tensors.values(), *tensors_in(held)])
    run.frozen.drop_changed(run.model)
    parameters = {
        name: each.detach()
        for name, each in run.model.named_parameters()
        if not is_lazy(each)
        and is_strided(each)
        and (address(each) in shared or not (each.requires_grad or name in run.frozen.hashes))
    }
    others = {name: each for name, each in buffers(run.model) if each is None or not is_lazy(each)}
    taken = (held, others, parameters, spec, lasting_metrics(run))
    sparse = {id(each): each.detach().clone() for each in tensors_in(taken) if not is_strided(each)}
    frozen = frozenset(name for name, each in run.model.named_parameters() if not each.requires_grad)
    copied = copy.deepcopy(taken, {**sparse})  # torch cannot deepcopy compressed tensors
    versions = {name: each._version for name, each in run.model.named_parameters() if name not in parameters}
    return Snapshot(frozen, dict(run.frozen.hashes), streams, *copied, versions)


def is_rewindable(run: LiveRun, taken: Snapshot) -> bool:
    """Whether the snapshot holds everything that changed since: no parameter that it lacks was written to."""
    now = {name: each._version for name, each in run.model.named_parameters() if name in taken.versions}
    return now == taken.versions


def rewind(run: LiveRun, taken: Snapshot) -> None:
    """Make the run's next checkpoint hold the state of the snapshot; the run must be reopened afterwards."""
    for name, _ in [*buffers(run.model)]:
        if name in taken.buffers:
            set_buffer(run.model, name, taken.buffers[name])
    for name, parameter in run.model.named_parameters():
        parameter.requires_grad = name not in taken.frozen
        if name in taken.parameters:
            parameter.data = taken.parameters[name]
    run.frozen.hashes = taken.hashes
    run.rewound = taken


# The optimizer


def packed_optimizer(run: LiveRun) -> dict[str, Any]:
    """Return the optimizer's hyperparameters by group and its state by parameter name. Raises Failure.

    What it keeps under other keys is in `beside`, by optimizer.
    """
    names = {id(parameter): name for name, parameter in run.model.named_parameters()}
    groups = [
        {**group, "params": [names[id(parameter)] for parameter in group["params"]]}
        for group in run.optimizer.param_groups
    ]
    each = members(run.optimizer)
    kept = [(id(key), key, value) for one in each for key, value in one.state.items()]
    if any(isinstance(key, Tensor) and at not in names for at, key, _ in kept):
        reason = "the optimizer keeps something for a tensor that is not a parameter of the model"
        raise Failure("state", f"the run's state cannot be saved in a checkpoint: {reason}")
    beside = [{key: value for key, value in one.state.items() if id(key) not in names} for one in each]
    state = {names[at]: dict(value) for at, _, value in kept if at in names}
    return {"groups": groups, "state": state} | ({"beside": beside} if any(beside) else {})


def unpack_optimizer(run: LiveRun, packed: Mapping[str, Any]) -> None:
    """Restore the result of `packed_optimizer`; the state of sharded parameters is divided like them."""
    parameters = dict(run.model.named_parameters())
    for group, kept in zip(run.optimizer.param_groups, packed["groups"], strict=True):
        group.update({key: value for key, value in kept.items() if key != "params"})
    for index, optimizer in enumerate(members(run.optimizer)):
        optimizer.state.clear()
        optimizer.state.update(packed["beside"][index] if "beside" in packed else {})
    for name, kept in packed["state"].items():
        parameter = parameters[name]
        run.optimizer.state[parameter] = {key: divided_like(parameter, each) for key, each in kept.items()}


def _strange(value: Any) -> str | None:
    """Return the type of the first object that a checkpoint cannot hold; None if there is none."""
    match value:
        case dict() if type(value) in (dict, OrderedDict, Counter):
            parts = [*value, *value.values()]
        case list() | tuple() | set() if type(value) in (list, tuple, set):
            parts = list(value)
        case _:
            held = type(value) in PLAIN or isinstance(value, torch.device)
            return None if held else type(value).__name__
    return next((found for part in parts if (found := _strange(part)) is not None), None)
