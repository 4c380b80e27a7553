"""A warm start: a new run begins with the weights that another run had at the end of an epoch.

That checkpoint is in the new run's directory as `origin`. It shares bytes with the other run's checkpoint,
but does not depend on what happens to that run. It is deleted once the new run has its own checkpoint.
Weights and buffers are copied. The optimizer's moments are copied if it has the same class and form. Every
hyperparameter, the random streams, the order of rows and the learning-rate schedule are the new run's own.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rapidfire_cli.durable import publication
from rapidfire_cli.durable.publication import Damaged
from rapidfire_cli.engine.checkpoints import MODEL, ORIGIN, STATE, weights_in
from rapidfire_cli.terms import WarmStart
from rapidfire_cli.training import weights
from rapidfire_cli.training.batches import moved
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.live_run import LiveRun
from rapidfire_cli.training.log import say

NAMED = 5  # the most tensors that a message names
HINT = "`--warm-start=matching`, in a file `matching: true`, loads the tensors that fit"
SCHEDULED = frozenset({"params", "lr", "initial_lr"})  # keys of a group that moments do not depend on


def begin(run: LiveRun, warm: WarmStart) -> None:
    """Load the weights of a warm start into a new run. Raises Failure."""
    place = Path(run.assignment.directory) / ORIGIN
    try:
        published = publication.verify(place)
    except Damaged as damage:
        raise Failure("warm_start", f"the weights to begin with cannot be used: {damage}") from None
    file = weights_in(published.path, MODEL)
    if file is None or not (published.path / STATE).is_file():
        raise Failure("warm_start", f"{place} is kept for its weights only")
    loaded = _load_matching(run, file) if warm.matching else _load_all(run, file)
    run.frozen.drop_changed(run.model)
    state = torch.load(published.path / STATE, map_location="cpu", weights_only=True)
    _load_moments(run, moved(state["optimizer"], run.device), loaded, _classes(published.facts["config"]))
    if warm.keep_schedule and run.schedule:
        run.schedule.scheduler.load_state_dict(state["scheduler"])
        for group, kept in zip(run.optimizer.param_groups, state["optimizer"]["groups"], strict=True):
            group.update({key: value for key, value in kept.items() if key != "params"})


def _load_all(run: LiveRun, file: Path) -> frozenset[str]:
    """Load all tensors and return their names. Raises Failure if the architecture changed."""
    if changed := architecture_change(file, run.model):
        raise Failure("warm_start", f"{changed}; {HINT}")
    weights.put(run.model, file, {})
    return frozenset(_tensors(run.model))


def architecture_change(file: Path, model: nn.Module) -> str:
    """Describe how the model's tensors differ from those in a file of weights; empty if it takes them all."""
    if changed := [*_changes(weights.stored(file), _tensors(model))]:
        more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
        return f"the architecture changed: {'; '.join(changed[:NAMED])}{more}"
    return ""


def _load_matching(run: LiveRun, file: Path) -> frozenset[str]:
    """Load the tensors that fit, print which, and return their names."""
    found, now = weights.stored(file), _tensors(run.model)
    fitting = {
        name: tensor
        for name, tensor in found.items()
        if tensor is not None and name in now and _form(tensor) == _form(now[name])
    }
    run.model.load_state_dict(fitting, strict=False)
    left = [name for name in now if name not in fitting]
    said = f"; not loaded: {', '.join(left)}" if left else ""
    say(f"rapidfire: warm start: loaded {len(fitting)} of {len(now)} tensors{said}")
    return frozenset(fitting)


def _load_moments(run: LiveRun, packed: Mapping[str, Any], loaded: Collection[str], was: str) -> None:
    """Copy the optimizer's state of the loaded parameters, if it has the same meaning in this run."""
    told = "rapidfire: warm start: the optimizer begins without the other run's state"
    if was != _classes(json.loads(run.assignment.config)):
        say(f"{told}: it was {was}")
        return
    kept = {name: group for group in packed["groups"] for name in group["params"]}
    names = {id(parameter): name for name, parameter in run.model.named_parameters()}
    for group in run.optimizer.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            state = packed["state"].get(name)
            if state is None or name not in loaded:
                continue
            if _kind(group) != _kind(kept[name]) or not _fits(parameter, state):
                say(f"{told} for `{name}`, of which it keeps something else")
            else:
                run.optimizer.state[parameter] = state


def _classes(leaf: Any) -> str:
    """Return the optimizer's class, or the classes of several optimizers, as text."""
    optimizer = leaf["train"]["optimizer"]
    each = optimizer if isinstance(optimizer, list) else [optimizer]
    return ", ".join(str(one["name"]) for one in each)


def _kind(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the meaning of the optimizer's state depends on: flags, names, and which numbers are 0."""
    return {key: _sort(value) for key, value in group.items() if key not in SCHEDULED}


def _sort(value: Any) -> Any:
    match value:
        case bool() | str() | None:
            return value
        case list() | tuple():
            return [_sort(item) for item in value]
        case _:
            return bool(value)


def _fits(parameter: Tensor, state: Mapping[str, Any]) -> bool:
    """Whether the state tensors of a parameter have its shape, or are single numbers."""
    tensors = [value for value in state.values() if isinstance(value, Tensor)]
    return all(each.numel() == 1 or each.shape == parameter.shape for each in tensors)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's weights and buffers that have a shape."""
    said = model.state_dict().items()
    return {name: value for name, value in said if isinstance(value, Tensor) and not is_lazy(value)}


def _changes(found: Mapping[str, Tensor | None], now: Mapping[str, Tensor]) -> Iterator[str]:
    """Yield a description of each tensor that differs: `head.weight` is (10, 32), was (2, 32)."""
    for name, tensor in found.items():
        if name not in now:
            yield f"`{name}` is missing"
        elif tensor is not None and _form(tensor) != _form(now[name]):
            yield f"`{name}` is {_spelled(now[name])}, was {_spelled(tensor)}"
    yield from (f"`{name}` is new" for name in now if name not in found)


def _form(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.dtype


def _spelled(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
