"""The state of a run beside its weights: all that its training goes on from."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor

from rapidfire_cli.terms import TRAIN
from rapidfire_cli.training import rng
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.feeds import moved
from rapidfire_cli.training.run import Run

PLAIN = (type(None), bool, int, float, str, bytes, Tensor, torch.Size, torch.dtype, torch.device)
"""What `torch.load(weights_only=True)` reads without being told more."""


def packed(run: Run) -> dict[str, Any]:
    """The state at an optimizer step's end, as tensors and plain data. Raises Failure."""
    return {
        "position": (run.epoch, run.done, run.step),
        "seconds": run.seconds,
        "buffers": _unsaved_buffers(run),
        "optimizer": run.optimizer.state_dict(),
        "scheduler": run.schedule.scheduler.state_dict() if run.schedule else None,
        "scaler": run.scaler.state_dict(),
        "tally": run.tallies[TRAIN].state(),
        "spec": own_state(run),
        "streams": rng.pack(run.streams),
        "settings": run.settings.packed(run.opened),
    }


def unpack(run: Run, state: dict[str, Any]) -> None:
    """Put everything back; the random streams last, as they come into force when the run trains."""
    for name, buffer in _unsaved_buffers(run).items():
        buffer.copy_(state["buffers"][name])
    run.epoch, run.done, run.step = state["position"]
    run.seconds = state["seconds"]
    run.optimizer.load_state_dict(state["optimizer"])
    if run.schedule:
        run.schedule.scheduler.load_state_dict(state["scheduler"])
    run.scaler.load_state_dict(state["scaler"])
    run.tallies[TRAIN].restore(moved(state["tally"], run.device))
    run.spec.load_state_dict(state["spec"])
    run.streams = rng.unpack(state["streams"])
    run.settings.unpack(state.get("settings", {}))


def own_state(run: Run) -> dict[str, Any]:
    """What the MLSpec's own `state_dict` says. Raises Failure where it could not be read back."""
    state = run.spec.state_dict()
    if (strange := _strange(state)) is not None:
        raise Failure("error", f"state_dict must return tensors and plain data, not {strange}")
    return state


def _strange(value: Any) -> str | None:
    """The type of the first thing that a checkpoint cannot hold."""
    match value:
        case dict() if type(value) in (dict, OrderedDict):
            parts = [*value, *value.values()]
        case list() | tuple() | set() if type(value) in (list, tuple, set):
            parts = list(value)
        case _:
            return None if type(value) in PLAIN else type(value).__name__
    return next((found for part in parts if (found := _strange(part)) is not None), None)


def _unsaved_buffers(run: Run) -> dict[str, Tensor]:
    """Buffers that torch leaves out of a model's state (persistent=False)."""
    saved = run.model.state_dict().keys()
    return {name: buffer for name, buffer in run.model.named_buffers() if name not in saved}
