"""Optimizers: any class of torch.optim, by name, or a user-defined one; one for all parameters or several.

`train.optimizer` is one section or a list of sections. A parameter belongs to the first section whose `match`
fits one of its names (a section without `match` fits all names). Within the section it belongs to the first
of the `groups` that fits, or to none. Several optimizers have the groups and the state of one combined
optimizer.
"""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rapidfire_cli.engine.messages import Finding
from rapidfire_cli.training.failure import Failure, one_line
from rapidfire_cli.training.signatures import Args, Family, culprits, findings, misfits, rejected, words

OPTIMIZERS = Family(
    kind="optimizer",
    base=Optimizer,
    classes={
        name.lower(): cls
        for name, cls in vars(torch.optim).items()
        if isinstance(cls, type) and issubclass(cls, Optimizer) and cls is not Optimizer
    },
    given=frozenset({"params"}),
    unknown="E401",
    unexpected="E402",
)
CLASH = "E408"
MATCH, GROUPS = "match", "groups"
SHOWN = 5  # names of parameters in a message

At: TypeAlias = tuple[str, ...]
Section: TypeAlias = Mapping[str, Any]
"""A mapping with the keys `name`, `args`, `match`, `groups`."""

Said: TypeAlias = Section | Sequence[Section]
"""The value of `train.optimizer`."""

Named: TypeAlias = "list[tuple[tuple[str, ...], nn.Parameter]]"
"""Parameters with all their names; tied parameters have several."""


class Optimizers:
    """Several optimizers, each with its own parameters, behind the interface of one."""

    def __init__(self, members: Iterable[Optimizer]) -> None:
        self.members = tuple(members)
        self._owners = {
            parameter: member
            for member in self.members
            for group in member.param_groups
            for parameter in group["params"]
        }

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameter groups of all optimizers."""
        return [group for member in self.members for group in member.param_groups]

    @property
    def state(self) -> "States":
        """The state of all optimizers, by parameter."""
        return States(self.members, self._owners)


AnyOptimizer: TypeAlias = Optimizer | Optimizers


class States(MutableMapping[Tensor, Any]):
    """The states of several optimizers as one mapping by parameter."""

    def __init__(self, members: Sequence[Optimizer], owners: Mapping[Tensor, Optimizer]) -> None:
        self._members = members
        self._owners = owners

    def __getitem__(self, parameter: Tensor) -> Any:
        return self._owners[parameter].state[parameter]

    def __setitem__(self, parameter: Tensor, state: Any) -> None:
        self._owners[parameter].state[parameter] = state

    def __delitem__(self, parameter: Tensor) -> None:
        del self._owners[parameter].state[parameter]

    def __iter__(self) -> Iterator[Tensor]:
        return chain.from_iterable(member.state for member in self._members)

    def __len__(self) -> int:
        return sum(len(member.state) for member in self._members)


def members(optimizer: AnyOptimizer) -> tuple[Optimizer, ...]:
    """Return the individual optimizers."""
    return optimizer.members if isinstance(optimizer, Optimizers) else (optimizer,)


def is_of_torch(optimizer: Optimizer) -> bool:
    """Whether the optimizer is one of torch's, which keep all of their state in `state` and their groups."""
    return type(optimizer).__module__.startswith("torch.optim")


def sections(said: Said, at: At = ("train", "optimizer")) -> list[tuple[At, Section]]:
    """Return the sections, each with its path in the config."""
    if isinstance(said, Mapping):
        return [(at, said)]
    return [((*at, str(index)), section) for index, section in enumerate(said)]


def optimizer_findings(said: Said) -> list[Finding]:
    """Return the mistakes in `train.optimizer`."""
    every = sections(said)
    return [finding for at, section in every for finding in _check(section, at, len(every) == 1)]


def rehearse(said: Said, device: torch.device) -> list[Finding]:
    """Return the errors of each optimizer class when it is created for a dummy parameter and takes a step.

    Arguments that `optimizer_findings` rejects are left out; so are unknown classes.
    """
    wrong = {finding.path for finding in optimizer_findings(said)}
    return [finding for at, section in sections(said) for finding in _rehearse(section, at, wrong, device)]


def dummy(section: Section, device: torch.device, rest: bool = True) -> Optimizer:
    """Return the optimizer over one dummy parameter per group, after a step. Raises what torch raises.

    `rest` says whether there is also a parameter that belongs to none of the groups.
    """
    cls = _class_of(section)
    groups = [
        {**_tuples(_options(group)), "params": [_parameter(cls, device)]} for group in section.get(GROUPS, ())
    ]
    groups += [{"params": [_parameter(cls, device)]}] if rest or not groups else []
    optimizer = cls(groups, **_tuples(section.get("args", {})))
    optimizer.step(lambda: 0.0)
    return optimizer


def build(said: Said, model: nn.Module) -> AnyOptimizer:
    """Create the optimizers over all parameters of `model`. Raises Failure."""
    for finding in optimizer_findings(said):
        raise Failure("error", finding.message, knob=finding.path)
    every, named = sections(said), _named(model)
    parts = _parted(named, [section.get(MATCH, "*") for _, section in every])
    if left := parts.pop():
        cause = f"no optimizer matches {_shown(left)}; add one without `{MATCH}` for the remaining parameters"
        raise Failure("error", cause, knob=("train", "optimizer"))
    for (at, section), part in zip(every, parts, strict=True):
        _check_taken(section, at, part, named)
    made = [_built(section, at, part) for (at, section), part in zip(every, parts, strict=True)]
    return made[0] if len(made) == 1 else Optimizers(made)


def reevaluates(said: Said) -> bool:
    """Whether a step of this optimizer evaluates the loss several times."""
    return any(OPTIMIZERS.find(section["name"]) is torch.optim.LBFGS for _, section in sections(said))


def check_sparse(optimizer: Optimizer, model: nn.Module) -> None:
    """Check that SparseAdam has no dense gradients. Raises Failure with the name, which torch omits."""
    if not isinstance(optimizer, torch.optim.SparseAdam):
        return
    taken = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        if id(parameter) in taken and parameter.grad is not None and not parameter.grad.is_sparse:
            cause = f"SparseAdam needs sparse gradients, but the gradient of `{name}` is dense"
            hint = "make it with `sparse=True`, or match it by another optimizer"
            raise Failure("error", f"{cause}; {hint}", knob=("train", "optimizer"))


def clear_gradients(optimizer: AnyOptimizer) -> None:
    """Clear the gradients of all parameters, without the profiling that makes `zero_grad` take ten times."""
    for member in members(optimizer):
        if getattr(member.zero_grad, "__func__", None) is not Optimizer.zero_grad:
            member.zero_grad()  # of the user's own
            continue
        for group in member.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


def clip(parameters: Iterable[nn.Parameter], most: float) -> None:
    """Clip the joint norm of all gradients, including sparse ones, to `most`."""
    trained = [parameter for parameter in parameters if parameter.grad is not None]
    gradients = []
    for parameter in trained:
        assert parameter.grad is not None
        if parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()  # a row that occurs twice counts once, with its sum
        gradients.append(parameter.grad.values() if parameter.grad.is_sparse else parameter.grad)
    if all(parameter.grad is gradient for parameter, gradient in zip(trained, gradients, strict=True)):
        nn.utils.clip_grad_norm_(trained, most)
        return
    factor = torch.clamp(most / (nn.utils.get_total_norm(gradients) + 1e-6), max=1.0)
    for gradient in gradients:
        gradient.mul_(factor)


def _check(section: Section, at: At, alone: bool) -> Iterator[Finding]:
    yield from findings(OPTIMIZERS, section["name"], section.get("args", {}), at)
    cls = OPTIMIZERS.find(section["name"])
    if cls is None:
        return
    for index, group in enumerate(section.get(GROUPS, ())):
        yield from misfits(OPTIMIZERS, cls, _options(group), (*at, GROUPS, str(index)))
    if cls is torch.optim.LBFGS and not (alone and not section.get(GROUPS)):
        message, expected = (
            "LBFGS must be the only optimizer and have no groups",
            "a single optimizer without groups",
        )
        yield Finding(0, (*at, "name"), CLASH, message, section["name"], expected)


def _rehearse(section: Section, at: At, wrong: set[At], device: torch.device) -> Iterator[Finding]:
    cls = OPTIMIZERS.find(section["name"])
    if cls is None:
        return
    args = {key: value for key, value in section.get("args", {}).items() if (*at, "args", key) not in wrong}
    own = OPTIMIZERS.is_own(cls)  # it may need more than a rehearsal provides

    def attempt(args: Args) -> None:
        dummy({"name": section["name"], "args": args}, device)

    blamed = list(culprits(attempt, args, OPTIMIZERS.needed(cls)))
    yield from (
        rejected(cls.__name__, key, said, args, (*at, "args")) for key, said in blamed if key or not own
    )
    if blamed:
        return
    for index, group in enumerate(section.get(GROUPS, ())):
        place = (*at, GROUPS, str(index))
        options = {key: value for key, value in _options(group).items() if (*place, key) not in wrong}
        for key, said in culprits(lambda options: attempt({**args, **options}), options, ()):
            yield rejected(cls.__name__, key, said, options, place)


def _parameter(cls: type, device: torch.device) -> nn.Parameter:
    """Return a dummy parameter with a gradient."""
    parameter = nn.Parameter(torch.ones(2, 2, device=device))
    gradient = torch.full_like(parameter, 1e-3)
    parameter.grad = gradient.to_sparse(1) if cls is torch.optim.SparseAdam else gradient
    return parameter


def _named(model: nn.Module) -> Named:
    """Return the model's parameters in its order, each with all its names."""
    names: dict[int, list[str]] = {}
    parameters: dict[int, nn.Parameter] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
        parameters.setdefault(id(parameter), parameter)
    return [(tuple(names[key]), parameter) for key, parameter in parameters.items()]


def _parted(named: Named, patterns: Sequence[str | Sequence[str]]) -> list[Named]:
    """Divide the parameters by the first pattern that matches; the last list has those without a match."""
    parts: list[Named] = [[] for _ in (*patterns, None)]
    for names, parameter in named:
        taker = (place for place, pattern in enumerate(patterns) if matches(pattern, names))
        parts[next(taker, len(patterns))].append((names, parameter))
    return parts


def matches(pattern: str | Sequence[str], names: Iterable[str]) -> bool:
    """Whether one of the patterns matches one of the names; `*` matches any text, including dots."""
    patterns = [pattern] if isinstance(pattern, str) else pattern
    return any(fnmatchcase(name, each) for name in names for each in patterns)


def _built(section: Section, at: At, named: Named) -> Optimizer:
    """Create the optimizer over its own parameters. Raises Failure."""
    cls, args, groups = _class_of(section), _tuples(section.get("args", {})), section.get(GROUPS, ())
    *parts, rest = _parted(named, [group[MATCH] for group in groups])
    for index, (group, part) in enumerate(zip(groups, parts, strict=True)):
        _check_taken(group, (*at, GROUPS, str(index)), part, named)
    own = OPTIMIZERS.is_own(cls)
    given = [
        {**_tuples(_options(group)), "params": _given(part, own)}
        for group, part in zip(groups, parts, strict=True)
    ]
    given += [{"params": _given(rest, own)}] if rest else []
    try:
        optimizer = cls(given if groups else _given(rest, own), **args)
    except Exception as error:
        raise _rejecting(cls, args, named, at, error) from error
    _settle(optimizer)
    return optimizer


def _given(named: Named, own: bool) -> list[Any]:
    """The parameters as the class receives them; torch's classes receive names too."""
    return [parameter if own else (names[0], parameter) for names, parameter in named]


def _check_taken(said: Section, at: At, taken: Named, among: Named) -> None:
    """Check that each section and group has a parameter. Raises Failure."""
    if taken:
        return
    pattern = said.get(MATCH, "*")
    shown = f"`{pattern}`" if isinstance(pattern, str) else " and ".join(f"`{each}`" for each in pattern)
    if any(matches(pattern, names) for names, _ in among):
        raise Failure(
            "error",
            f"all parameters that {shown} matches already belong to an earlier optimizer or group",
            knob=at,
        )
    raise Failure(
        "error", f"{shown} matches no parameter; the parameters are {_shown(among)}", knob=(*at, MATCH)
    )


def _rejecting(cls: type, args: Args, named: Named, at: At, error: Exception) -> Failure:
    """The Failure for the first parameter that the class rejects by itself, or for all of them together."""
    for names, parameter in named:
        try:
            cls([parameter], **args)
        except Exception as alone:
            shape = tuple(parameter.shape)
            cause = f"{cls.__name__} rejects the parameter `{names[0]}` of shape {shape}: {words(alone)}"
            return Failure("error", cause, knob=at)
    return Failure("error", one_line(error), knob=at)


def _shown(named: Named) -> str:
    names = [names[0] for names, _ in named]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def _class_of(section: Section) -> type[Optimizer]:
    """Return the class of a section that has no findings."""
    cls = OPTIMIZERS.find(section["name"])
    assert cls is not None and issubclass(cls, Optimizer)
    return cls


def _options(group: Section) -> dict[str, Any]:
    """Return the options that a group sets for its parameters."""
    return {key: value for key, value in group.items() if key != MATCH}


def _settle(optimizer: Optimizer) -> None:
    """Turn `foreach` off on the CPU, as torch would decide at every step (measured: 2 % of the time)."""
    for group in optimizer.param_groups:
        undecided = "foreach" in group and group["foreach"] is None
        if undecided and all(parameter.device.type == "cpu" for parameter in group["params"]):
            group["foreach"] = False


def _tuples(args: Args) -> dict[str, Any]:
    """Convert lists to tuples: torch declares tuples (betas, etas, …), and files contain lists."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in args.items()}
