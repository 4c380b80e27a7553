"""Train a model whose parameters are divided over the ranks of a gang (`fsdp_layer_cls`).

Theory of operation. The run is opened whole on every rank, from the start or from a checkpoint, as on one
device. Then `shard` divides it with torch's `fully_shard`: each module of the named classes is a unit whose
parameters are gathered while it computes, and everything outside of them is one more unit. That outermost
unit is a module of ours, `Step`, whose forward is the whole `compute_forward`; so user code may call parts of
its model, and sees its own module. The optimizer is built again, over the parts of the parameters that this
rank holds, and its state is divided in the same way.

Each rank's loss counts as much as the weight of its rows, so that the sum over the ranks is the gradient of
the whole batch. torch sums gradients inside the backward pass. Therefore every rank computes every batch: one
without rows fills in with a row of another rank, and its gradients are replaced by zeros (`idly`).

Invariants:

- Between two batches, no unit holds gathered parameters: the model's parameters are the rank's own parts.
- Parameters that cannot be divided (scalars, and tied ones inside and outside of a layer) stay whole on every
  rank, and their gradients are summed as those of a run that is not sharded.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.parameter import is_lazy

from rapidfire_cli.training import optimizers
from rapidfire_cli.training.batches import moved
from rapidfire_cli.training.failure import Failure, located
from rapidfire_cli.training.gang import Gang
from rapidfire_cli.training.gang_check import unshardable
from rapidfire_cli.training.layers import KNOB, layers_named
from rapidfire_cli.training.optimizers import AnyOptimizer
from rapidfire_cli.training.schedulers import Schedule
from rapidfire_cli.training.shards import is_shard, local
from rapidfire_cli.training.state import packed_optimizer, unpack_optimizer

if TYPE_CHECKING:
    from rapidfire_cli.training.live_run import LiveRun

DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


MIXED = "mixed torch.Tensor and DTensor"  # in the message that torch raises then


class Step(nn.Module):
    """The outermost unit: computes a batch with the user's `compute_forward`."""

    def __init__(self, model: nn.Module, compute: Callable[[Any], Any]) -> None:
        super().__init__()
        self.model = model
        self._compute = compute

    def forward(self, batch: Any) -> Any:
        """Return what compute_forward returns."""
        return self._compute(batch)


class Sharded:
    """A model divided over the ranks of a gang."""

    def __init__(
        self,
        run: "LiveRun",
        compute: Callable[[Any], Any],
        layers: Sequence[nn.Module],
        gang: Gang,
        device: torch.device,
    ) -> None:
        """Divide the parameters of the run's model, which are alike on every rank."""
        self.model = model = run.model
        self.size = gang.share.size
        self.freezes = bool(run.frozen.hashes)
        self._gang = gang
        self._gathered: dict[int, nn.Parameter] = {}  # as a unit has them while it computes, by id
        whole = _kept_whole(model, layers)
        for each in whole:
            each.data = each.data.to(device)
        policy = MixedPrecisionPolicy(DTYPES[run.train.precision], torch.float32, cast_forward_inputs=False)
        self._root = Step(model, compute)
        for module in (*layers, self._root):
            fully_shard(module, mesh=gang.mesh(), mp_policy=policy, ignored_params=whole)
        self._units = [each for each in self._root.modules() if isinstance(each, FSDPModule)]
        for unit in self._units:
            self._note_gathered(unit)

    def compute(self, batch: Any) -> Any:
        """Return what compute_forward returns for this rank's rows of a batch; every rank calls this."""
        try:
            outputs = self._root(batch)
        except RuntimeError as error:
            if MIXED not in f"{error}":
                raise
            cause = "the weights of a layer are used outside of its forward, where they are not gathered"
            hint = f"name the class of the module around it in `{KNOB}`"
            raise Failure("error", f"{cause}: {located(error)}; {hint}", knob=(KNOB,)) from error
        if not torch.is_grad_enabled():
            for unit in self._units:
                unit.reshard()
        return outputs

    @contextmanager
    def idly(self) -> Iterator[None]:
        """Let a backward pass in the block contribute zeros, whatever it computes."""
        whole = [each for each in self.model.parameters() if not is_shard(each)]
        taught = [each for each in (*self._gathered.values(), *whole) if each.requires_grad]
        handles = [each.register_hook(torch.zeros_like) for each in taught]  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def settle(self, factor: float, trained: Iterable[nn.Parameter]) -> None:
        """Multiply the gradients by the factor; first sum those of `trained` parameters that are whole."""
        whole = [each for each in trained if not is_shard(each)]
        for each in whole:
            if each.grad is None:
                each.grad = torch.zeros_like(each)
        self._gang.total(each.grad.div_(self.size) for each in whole if each.grad is not None)
        parts = [local(each.grad) for each in self.model.parameters() if each.grad is not None]
        if factor != 1.0 and parts:
            torch._foreach_mul_(parts, factor)

    def clip(self, most: float) -> None:
        """Clip the joint norm of all gradients to `most`."""
        trained = [each for each in self.model.parameters() if each.grad is not None]
        parts = [local(each.grad) for each in trained if each.grad is not None]
        divided = [is_shard(each) for each in trained]
        norms = torch.stack([part.norm(dtype=torch.float64) for part in parts]) if parts else torch.zeros(0)
        square = torch.zeros(2, dtype=torch.float64, device=norms.device)
        for norm, apart in zip(norms, divided, strict=True):
            square[int(apart)] += norm**2
        self._gang.total([square[1:]])
        factor = torch.clamp(most / (square.sum().sqrt() + 1e-6), max=1.0)
        for part in parts:
            part.mul_(factor.to(part.dtype))

    def _note_gathered(self, unit: nn.Module) -> None:
        """Learn, in the first forward pass of a unit, which parameters autograd sees."""

        def noted(module: nn.Module, _args: Any) -> None:
            seen = (each for each in module.parameters() if not is_shard(each))
            self._gathered.update((id(each), each) for each in seen)
            handle.remove()

        handle = unit.register_forward_pre_hook(noted)


def shard(
    run: "LiveRun",
    gang: Gang,
    names: Sequence[str],
    device: torch.device,
    schedule: Callable[[AnyOptimizer], Schedule | None],
) -> None:
    """Divide a run that was opened whole on the CPU over the ranks of its gang, on their devices.

    `schedule` makes the scheduler of an optimizer. Raises Failure.
    """
    layers = layers_named(run.model, names)
    check_shardable(run)
    optimizer = packed_optimizer(run)

    def compute(batch: Any) -> Any:
        return run.spec.compute_forward(run.forward, batch, run.cfg)

    with run.origins.attributes.apart():
        run.sharded = Sharded(run, compute, layers, gang, device)
    parameters = {id(each): each for each in run.model.parameters()}
    run.origins = replace(run.origins, model=replace(run.origins.model, parameters=parameters))
    run.device = device
    run.optimizer = optimizers.build(run.train.optimizer, run.model)
    if run.schedule:
        state = run.schedule.scheduler.state_dict()
        run.schedule = schedule(run.optimizer)
        assert run.schedule
        run.schedule.scheduler.load_state_dict(state)
    unpack_optimizer(run, moved(optimizer, device))
    run.frozen.settle(run.model)


def check_shardable(run: "LiveRun") -> None:
    """Check that the model's parameters can be divided. Raises Failure."""
    lazy = next((name for name, each in run.model.named_parameters() if is_lazy(each)), None)
    if lazy is not None:
        cause = f"`{lazy}` has no shape before the first batch, so the model cannot be sharded"
        raise Failure("error", cause, knob=(KNOB,))
    for found in unshardable(json.loads(run.assignment.config)):
        raise Failure("error", found.message, knob=found.path)
    if (at := run.origins.attributes.second_place(run.model)) is not None:
        cause = f"the model keeps a parameter a second time, as `{at}`, where sharding cannot replace it"
        raise Failure("error", cause, knob=(KNOB,))


def _kept_whole(model: nn.Module, layers: Sequence[nn.Module]) -> set[nn.Parameter]:
    """The parameters that cannot be divided: scalars, odd layouts, and those of several units."""
    unit_of = {id(inner): id(layer) for layer in reversed(layers) for inner in layer.modules()}
    owners: dict[int, set[int]] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners.setdefault(id(parameter), set()).add(unit_of.get(id(module), 0))
    return {
        each
        for each in model.parameters()
        if each.ndim == 0 or not each.is_contiguous() or len(owners[id(each)]) > 1
    }
