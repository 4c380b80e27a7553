"""A sharded run as a whole: gathered for checkpoints, and divided when it is opened.

A checkpoint holds whole tensors in the same format whether a run is sharded or not, so any number of devices
can read it. All ranks gather together; rank 0 keeps what they gather, in the memory of its host.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rapidfire_cli.training.model_state import check_structure
from rapidfire_cli.training.shards import is_shard

if TYPE_CHECKING:
    from rapidfire_cli.training.live_run import LiveRun


@dataclass(frozen=True, slots=True)
class WholeOptimizer:
    """The hyperparameters and the state of an optimizer, over whole parameters."""

    param_groups: list[dict[str, Any]]
    state: Mapping[Tensor, Any]


@contextmanager
def whole(run: "LiveRun", optimizer: bool = True) -> Iterator["LiveRun"]:
    """Give rank 0 the run with whole tensors during the block; other ranks, and runs that are not sharded,
    see the run as it is. Every rank calls this. The tensors of frozen weights that are unchanged are left
    empty. Without `optimizer`, its state stays divided. Raises Failure.
    """
    if run.sharded is None or run.gang is None:
        yield run
        return
    check_structure(run.model, run.origins.model)
    _agree_on_frozen(run)
    parameters = _gathered_parameters(run)
    made = _gathered_optimizer(run, parameters) if optimizer else run.optimizer
    if not run.share.leads:
        yield run
        return
    kept = {id(each): each for each in parameters.values()}
    origins = replace(run.origins, model=replace(run.origins.model, parameters=kept))
    places = [(module._parameters, name) for module in run.model.modules() for name in module._parameters]
    divided = [(table, name, table[name]) for table, name in places]
    for table, name, each in divided:
        table[name] = None if each is None else parameters[id(each)]
    try:
        yield replace(run, optimizer=made, origins=origins)  # type: ignore[arg-type]
    finally:
        for table, name, each in divided:
            table[name] = each


def gathered(tensor: Tensor) -> Tensor:
    """Return the whole tensor on the CPU, in memory of its own; every rank calls this."""
    if not is_shard(tensor):
        return tensor.detach()
    full: Tensor = tensor.detach().full_tensor()  # type: ignore[attr-defined]
    full = full.cpu().contiguous()
    return full.clone() if full.untyped_storage().nbytes() != full.nbytes else full


def divided_like(parameter: Tensor, value: Any) -> Any:
    """Return this rank's part of a piece of optimizer state that has the shape of a sharded parameter."""
    if not is_shard(parameter) or not isinstance(value, Tensor) or value.shape != parameter.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = parameter.device_mesh, parameter.placements  # type: ignore[attr-defined]
    return distribute_tensor(value, mesh, placements, src_data_rank=None)


def _agree_on_frozen(run: "LiveRun") -> None:
    """Treat frozen weights as changed if any rank's part of them is."""
    assert run.gang and run.sharded
    if not run.sharded.freezes:
        return
    if not run.rewound:
        run.frozen.drop_changed(run.model)
    everywhere = set.intersection(*map(set, run.gang.exchange([*run.frozen.hashes])))
    run.frozen.forget([name for name in run.frozen.hashes if name not in everywhere])


def _gathered_parameters(run: "LiveRun") -> dict[int, nn.Parameter]:
    """The whole parameters by the ids of the divided ones; only rank 0 keeps them."""
    found: dict[int, nn.Parameter] = {}
    for name, parameter in run.model.named_parameters():
        if name in run.frozen.hashes and is_shard(parameter):
            made = torch.empty(parameter.shape, dtype=parameter.dtype)
        else:
            made = gathered(parameter)
        if run.share.leads:
            found[id(parameter)] = nn.Parameter(made, requires_grad=parameter.requires_grad)
    return found


def _gathered_optimizer(run: "LiveRun", parameters: Mapping[int, nn.Parameter]) -> WholeOptimizer:
    state: dict[Tensor, Any] = {}
    for parameter, kept in run.optimizer.state.items():
        made = {key: gathered(each) if isinstance(each, Tensor) else each for key, each in kept.items()}
        if run.share.leads:
            state[parameters[id(parameter)]] = made
    if not run.share.leads:
        return WholeOptimizer([], {})
    groups = [
        {**group, "params": [parameters[id(each)] for each in group["params"]]}
        for group in run.optimizer.param_groups
    ]
    return WholeOptimizer(groups, state)
