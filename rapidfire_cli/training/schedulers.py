"""Every learning-rate scheduler of torch.optim.lr_scheduler, by name, nested ones included."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from rapidfire_cli.engine.messages import Finding
from rapidfire_cli.terms import LOSS, TRAIN, VALIDATION
from rapidfire_cli.training.binding import Family, findings, locate
from rapidfire_cli.training.failure import Failure, one_line

SCHEDULERS = Family(
    kind="learning-rate scheduler",
    classes={
        name.lower(): cls
        for name, cls in vars(lr_scheduler).items()
        if isinstance(cls, type)
        and issubclass(cls, LRScheduler)
        and cls is not LRScheduler
        and not name.startswith("_")
    },
    given=frozenset({"optimizer", "last_epoch"}),
    unknown="E404",
    unexpected="E405",
)
NO_CALLABLE = "E407"
NESTED = "schedulers"  # the argument of SequentialLR and ChainedScheduler

At = tuple[str, ...]
Values = Mapping[str, Mapping[str, float]]
"""An epoch's metrics: values by split and name."""

Names = Mapping[str, Collection[str]]
"""The names of an epoch's metrics by split."""


@dataclass(slots=True)
class Schedule:
    """A scheduler and when it steps."""

    scheduler: LRScheduler
    per_epoch: bool
    monitor: str  # what ReduceLROnPlateau watches: `top1_accuracy`, `train.loss`

    def check_monitor(self, names: Names) -> None:
        """Raises Failure when the metric to watch will not be among these."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            watched(self.monitor, names)

    def after_step(self) -> None:
        """An optimizer step is done."""
        if not self.per_epoch:
            self.scheduler.step()

    def after_epoch(self, values: Values) -> None:
        """An epoch is over, with these metrics."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            split, name = watched(self.monitor, values)
            self.scheduler.step(values[split][name])
        elif self.per_epoch:
            self.scheduler.step()


def check(section: Mapping[str, Any], at: At = ("train", "lr_scheduler")) -> list[Finding]:
    """What is wrong with `train.lr_scheduler`, nested schedulers and callables included."""
    args = section.get("args", {})
    found = findings(SCHEDULERS, section["name"], args, at)
    found += [wrong for path, nested in _nested(args, (*at, "args", NESTED)) for wrong in check(nested, path)]
    for key in _callables(section["name"], args):
        found += _unlocated(args[key], (*at, "args", key))
    return found


def build(section: Mapping[str, Any], optimizer: torch.optim.Optimizer, total_steps: int) -> Schedule:
    """The scheduler; OneCycleLR spans the run's `total_steps` unless told otherwise. Raises Failure."""
    for finding in check(section):
        raise Failure("error", finding.message)
    scheduler = _construct(section, optimizer, total_steps)
    per_epoch = isinstance(scheduler, ReduceLROnPlateau) or section.get("interval") == "epoch"
    return Schedule(scheduler, per_epoch, section.get("monitor", LOSS))


def watched(monitor: str, names: Names) -> tuple[str, str]:
    """The split and name of `metric`, which is validation's where there is one, or `split.metric`.

    Raises Failure when there is no such metric.
    """
    split, _, name = monitor.rpartition(".")
    split = split or (VALIDATION if VALIDATION in names else TRAIN)
    if name not in names.get(split, ()):
        known = ", ".join(f"{split}.{name}" for split, those in names.items() for name in those)
        raise Failure("error", f"lr_scheduler.monitor is `{monitor}`, but the metrics are {known}")
    return split, name


def _construct(section: Mapping[str, Any], optimizer: torch.optim.Optimizer, total_steps: int) -> LRScheduler:
    cls = SCHEDULERS.classes[section["name"].lower()]
    args = dict(section.get("args", {}))
    for key in _callables(section["name"], args):
        args[key] = _located(args[key])
    if NESTED in args:
        args[NESTED] = [_construct(nested, optimizer, total_steps) for nested in args[NESTED]]
    if cls is lr_scheduler.OneCycleLR and not {"total_steps", "epochs", "steps_per_epoch"} & args.keys():
        args["total_steps"] = total_steps
    scheduler: LRScheduler = cls(optimizer=optimizer, **args)
    return scheduler


def _nested(args: Mapping[str, Any], at: At) -> Iterator[tuple[At, Mapping[str, Any]]]:
    for index, nested in enumerate(args.get(NESTED, ())):
        yield (*at, str(index)), nested


def _callables(name: str, args: Mapping[str, Any]) -> list[str]:
    cls = SCHEDULERS.find(name)
    declared = SCHEDULERS.parameters(cls) if cls else {}
    return [key for key in args if key in declared and "Callable" in str(declared[key].annotation)]


def _located(dotted: Any) -> Any:
    return [locate(one) for one in dotted] if isinstance(dotted, list) else dotted and locate(dotted)


def _unlocated(dotted: Any, path: At) -> Iterator[Finding]:
    try:
        _located(dotted)
    except Exception as error:
        yield Finding(
            *(0, path, NO_CALLABLE, f"`{dotted}` cannot be imported: {one_line(error)}"),
            found=str(dotted),
            expected="the dotted path of a callable, such as `specs.schedules:warmup`",
        )
