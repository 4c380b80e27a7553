"""Every optimizer of torch.optim, by name."""

from collections.abc import Mapping
from typing import Any

import torch

from rapidfire_cli.engine.messages import Finding
from rapidfire_cli.training.binding import Args, Family, culprits, findings, rejected
from rapidfire_cli.training.failure import Failure

OPTIMIZERS = Family(
    kind="optimizer",
    classes={
        name.lower(): cls
        for name, cls in vars(torch.optim).items()
        if isinstance(cls, type)
        and issubclass(cls, torch.optim.Optimizer)
        and cls is not torch.optim.Optimizer
    },
    given=frozenset({"params"}),
    unknown="E401",
    unexpected="E402",
)


def check(section: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with `train.optimizer`."""
    return findings(OPTIMIZERS, section["name"], section.get("args", {}), ("train", "optimizer"))


def build(section: Mapping[str, Any], model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimizer over all parameters of `model`. Raises Failure, and whatever torch refuses."""
    for finding in check(section):
        raise Failure("error", finding.message)
    cls = OPTIMIZERS.classes[section["name"].lower()]
    optimizer: torch.optim.Optimizer = cls(model.parameters(), **_tuples(section.get("args", {})))
    _settle(optimizer)
    return optimizer


def rehearse(section: Mapping[str, Any], device: torch.device) -> list[Finding]:
    """What the class says of these arguments when it is made for a parameter of its own and takes a step.

    Arguments that `check` finds wrong are left out; so are classes that it does not find.
    """
    cls = OPTIMIZERS.find(section["name"])
    if cls is None:
        return []
    wrong = {finding.path[-1] for finding in check(section)}
    args = {key: value for key, value in section.get("args", {}).items() if key not in wrong}

    def attempt(args: Args) -> None:
        dummy({"name": section["name"], "args": args}, device)

    found = culprits(attempt, args, OPTIMIZERS.needed(cls))
    return [rejected(cls.__name__, key, said, args, ("train", "optimizer")) for key, said in found]


def dummy(section: Mapping[str, Any], device: torch.device) -> torch.optim.Optimizer:
    """The optimizer over a parameter (2, 2) of its own, after a step. Raises what torch raises."""
    parameter = torch.nn.Parameter(torch.ones(2, 2, device=device))
    cls = OPTIMIZERS.classes[section["name"].lower()]
    optimizer: torch.optim.Optimizer = cls([parameter], **_tuples(section.get("args", {})))
    gradient = torch.full_like(parameter, 1e-3)
    parameter.grad = gradient.to_sparse(1) if cls is torch.optim.SparseAdam else gradient
    optimizer.step(lambda: 0.0)
    return optimizer


def reevaluates(section: Mapping[str, Any]) -> bool:
    """Whether a step of this optimizer evaluates the loss several times."""
    return OPTIMIZERS.find(section["name"]) is torch.optim.LBFGS


def _settle(optimizer: torch.optim.Optimizer) -> None:
    """Say what torch finds out at every step: on the CPU it goes tensor by tensor (measured: 2 %)."""
    for group in optimizer.param_groups:
        undecided = "foreach" in group and group["foreach"] is None
        if undecided and all(parameter.device.type == "cpu" for parameter in group["params"]):
            group["foreach"] = False


def _tuples(args: Mapping[str, Any]) -> dict[str, Any]:
    """What torch declares as tuples (betas, etas, …) files write as lists."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in args.items()}
