"""Learning-rate schedulers: any class of torch.optim.lr_scheduler, by name, including nested ones.

A scheduler's unit is the optimizer step, or the epoch with `interval: epoch`. OneCycleLR receives the run's
length in this unit, and so does an argument `T_max`, `total_iters` or `total_steps` with the value `run`.
Inside a SequentialLR, the length is the stretch between two milestones.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from rapidfire_cli.engine.messages import Finding
from rapidfire_cli.facts import reading
from rapidfire_cli.terms import LOSS, Direction
from rapidfire_cli.training.failure import Failure, one_line
from rapidfire_cli.training.optimizers import AnyOptimizer, members
from rapidfire_cli.training.signatures import Args, Family, culprits, findings, locate, mistaken, rejected

SCHEDULERS = Family(
    kind="learning-rate scheduler",
    base=LRScheduler,
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
TOO_SHORT = "E409"
NESTED = "schedulers"  # the argument of SequentialLR and ChainedScheduler
SPANNING = frozenset({"T_max", "total_iters", "total_steps"})
"""The arguments that can be `run`."""

RUN = "run"
TRIED = (
    100  # steps that a rehearsal takes at most (assumed: what fails later has read its step from the data)
)
LONG = 1000  # the assumed length of a run whose length is not known yet

At: TypeAlias = tuple[str, ...]
Section: TypeAlias = Mapping[str, Any]
"""A mapping with the keys `name` and `args`."""

Values: TypeAlias = Mapping[str, Mapping[str, float]]
"""An epoch's metric values, by split and name."""

Names: TypeAlias = Mapping[str, Collection[str]]
"""The names of an epoch's metrics by split."""


@dataclass(frozen=True, slots=True)
class Length:
    """The length of a run."""

    epochs: int
    steps: int | None  # optimizer steps per epoch; None if unknown

    def of(self, section: Section) -> int | None:
        """Return the run's length in the scheduler's unit; None if it is unknown."""
        if by_epoch(section):
            return self.epochs
        return None if self.steps is None else self.epochs * self.steps


class Schedulers:
    """The schedulers of several optimizers, which step together."""

    def __init__(self, members: Iterable[LRScheduler]) -> None:
        self.members = tuple(members)

    def step(self, *metrics: float) -> None:
        """Step every scheduler."""
        for member in self.members:
            member.step(*metrics)  # type: ignore[arg-type]  # ReduceLROnPlateau takes the metric

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every scheduler."""
        return {"members": [member.state_dict() for member in self.members]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        for member, kept in zip(self.members, state["members"], strict=True):
            member.load_state_dict(kept)


@dataclass(slots=True)
class Schedule:
    """A scheduler and when it steps."""

    scheduler: LRScheduler | Schedulers
    per_epoch: bool
    monitor: str | None  # the metric of ReduceLROnPlateau: `top1_accuracy`, `train.loss`; None for others

    def check_monitor(self, names: Names) -> None:
        """Check that the monitored metric is among these names. Raises Failure."""
        if self.monitor is not None:
            watched(self.monitor, names)

    def after_step(self) -> None:
        """Step the scheduler after an optimizer step, if that is its interval."""
        if not self.per_epoch:
            self.scheduler.step()

    def after_epoch(self, values: Values) -> None:
        """Step the scheduler after an epoch with these metrics, if that is its interval."""
        if self.monitor is not None:
            split, name = watched(self.monitor, values)
            self.scheduler.step(values[split][name])  # type: ignore[arg-type]  # as ReduceLROnPlateau does
        elif self.per_epoch:
            self.scheduler.step()


def by_epoch(section: Section) -> bool:
    """Whether the scheduler steps once per epoch."""
    return section.get("interval") == "epoch" or watches(section)


def watches(section: Section) -> bool:
    """Whether the scheduler steps on a metric."""
    return SCHEDULERS.find(section["name"]) is ReduceLROnPlateau


def scheduler_findings(section: Section, at: At = ("train", "lr_scheduler")) -> list[Finding]:
    """Return the mistakes in `train.lr_scheduler`, including nested schedulers and callables."""
    args = section.get("args", {})
    concrete = {key: 1 if key in SPANNING and value == RUN else value for key, value in args.items()}
    found = findings(SCHEDULERS, section["name"], concrete, at)
    found += _milestones(section, (*at, "args", "milestones"))
    for path, nested in _nested(args, (*at, "args", NESTED)):
        found += scheduler_findings(nested, path) if _can_nest(nested) else [_unnested(nested, path)]
    for key in _callables(section["name"], args):
        found += _unlocated(args[key], (*at, "args", key))
    return found


def check_length(section: Section, length: Length, at: At = ("train", "lr_scheduler")) -> list[Finding]:
    """Return findings for schedulers that end before the run does, or that would begin after its end."""
    known = length.of(section)
    return [*_misfits(section, known, known or length.epochs, at)]


def needs_steps(section: Section) -> bool:
    """Whether `check_length` can find more if it knows the steps of an epoch."""
    return not by_epoch(section) and _fitted(section)


def rehearse(
    section: Section, length: Length, dummy: Callable[[], Optimizer], at: At = ("train", "lr_scheduler")
) -> list[Finding]:
    """Create the scheduler on the optimizer from `dummy`, step it, and return the errors as findings.

    Nested schedulers are tried one by one before they are tried together.
    """
    return _tried(section, length.of(section) or LONG, dummy, at)


def build(
    section: Section,
    optimizer: AnyOptimizer,
    length: Length,
    direction: Callable[[str], Direction | None] = lambda _: None,
) -> Schedule:
    """Create the scheduler for a run of this length, whose steps must be known. Raises Failure.

    `direction` returns the better direction of a metric, which ReduceLROnPlateau uses as its default `mode`.
    """
    for finding in (*scheduler_findings(section), *check_length(section, length)):
        raise Failure("error", finding.message)
    monitor = section.get("monitor", LOSS)
    span = length.of(section)
    assert span is not None
    said = watching(section, direction(monitor))
    made = [_construct(said, member, span) for member in members(optimizer)]
    scheduler = made[0] if len(made) == 1 else Schedulers(made)
    return Schedule(scheduler, by_epoch(section), monitor if watches(section) else None)


def watching(section: Section, direction: Direction | None) -> Section:
    """Return the section; set the `mode` of ReduceLROnPlateau to `direction` if missing. Raises Failure."""
    args = section.get("args", {})
    if not watches(section) or "mode" in args:
        return section
    if direction is None:
        monitor = section.get("monitor", LOSS)
        raise Failure(
            "error", f"ReduceLROnPlateau needs `mode`: the better direction of {monitor} is unknown"
        )
    return {**section, "args": {**args, "mode": direction}}


def watched(monitor: str, names: Names) -> tuple[str, str]:
    """Return the split and the name of a monitored metric, given as `metric` or `split.metric`.

    Without a split, the validation split is preferred if there is one. Raises Failure if there is no such
    metric.
    """
    split, name = reading(names, monitor)
    if name not in names.get(split, ()):
        known = ", ".join(f"{split}.{name}" for split, those in names.items() for name in those)
        raise Failure("error", f"lr_scheduler.monitor is `{monitor}`, but the metrics are {known}")
    return split, name


def _construct(section: Section, optimizer: Optimizer, span: int) -> LRScheduler:
    cls = _class_of(section)
    args = _spanned(cls, section.get("args", {}), span)
    for key in _callables(section["name"], args):
        args[key] = _located(args[key])
    if NESTED in args:
        parts = zip(args[NESTED], _stretches(section, span), strict=True)
        args[NESTED] = [_construct(nested, optimizer, stretch or LONG) for nested, stretch in parts]
    scheduler: LRScheduler = cls(optimizer=optimizer, **args)
    return scheduler


def _class_of(section: Section) -> type:
    """Return the class of a section that has no findings."""
    cls = SCHEDULERS.find(section["name"])
    assert cls is not None
    return cls


def _spanned(cls: type, args: Args, span: int) -> dict[str, Any]:
    """Return the arguments, with the length `span` for those that span the run."""
    filled = {key: span if key in SPANNING and value == RUN else value for key, value in args.items()}
    if cls is lr_scheduler.OneCycleLR and not {"total_steps", "epochs", "steps_per_epoch"} & args.keys():
        filled["total_steps"] = span
    return filled


def _stretches(section: Section, span: int | None) -> list[int | None]:
    """Return the steps of each nested scheduler: from its milestone to the next one or to the run's end."""
    args = section.get("args", {})
    nested, milestones = args[NESTED], args.get("milestones", ())
    if (
        SCHEDULERS.find(section["name"]) is not lr_scheduler.SequentialLR
        or len(milestones) != len(nested) - 1
    ):
        return [span] * len(nested)
    ends = [*milestones, span]
    return [None if end is None else end - begin for begin, end in zip([0, *milestones], ends, strict=True)]


def _misfits(section: Section, span: int | None, least: int, at: At) -> Iterator[Finding]:
    """Yield findings for schedulers that do not fit the length `span`; `least` is a lower bound of it."""
    args = section.get("args", {})
    if NESTED in args:
        known, at_least = _stretches(section, span), _stretches(section, least)
        for (path, nested), stretch, fewest in zip(
            _nested(args, (*at, "args", NESTED)), known, at_least, strict=True
        ):
            assert fewest is not None
            if stretch is not None and stretch < 1 and _fitted(nested):
                yield _beyond(nested, span, (*at, "args", "milestones"))
            else:
                yield from _misfits(nested, stretch, fewest, path)
        return
    total = _one_cycle(section)
    if total is not None and total[1] < least:
        yield _too_short(total, span, least, (*at, "args"))


def _fitted(section: Section) -> bool:
    """Whether the scheduler depends on the run's length, so that it may not fit."""
    args = section.get("args", {})
    if NESTED in args:
        return any(_fitted(nested) for nested in args[NESTED])
    return SCHEDULERS.find(section["name"]) is lr_scheduler.OneCycleLR or RUN in args.values()


def _one_cycle(section: Section) -> tuple[str, int] | None:
    """Return the argument that sets the number of steps of OneCycleLR, and the number; None without one."""
    args = section.get("args", {})
    if SCHEDULERS.find(section["name"]) is not lr_scheduler.OneCycleLR:
        return None
    match args:
        case {"total_steps": int(total)}:
            return "total_steps", total
        case {"epochs": int(epochs), "steps_per_epoch": int(steps)} if "total_steps" not in args:
            return "steps_per_epoch", epochs * steps
    return None


def _too_short(total: tuple[str, int], span: int | None, least: int, at: At) -> Finding:
    key, steps = total
    return Finding(
        *(0, (*at, key), TOO_SHORT, f"OneCycleLR ends after {steps} steps, before the end of the run"),
        found=f"{steps}",
        expected=f"{least}" if span is not None else f"at least {least}",
        hint="remove `total_steps`, or use `total_steps: run`",
    )


def _beyond(nested: Section, span: int | None, at: At) -> Finding:
    return Finding(
        *(0, at, TOO_SHORT, f"{nested['name']} begins after the end of the run"),
        expected=f"milestones below {span}",
    )


def _tried(section: Section, span: int, dummy: Callable[[], Optimizer], at: At) -> list[Finding]:
    args = section.get("args", {})
    if NESTED in args:
        found = [
            finding
            for (path, nested), stretch in zip(
                _nested(args, (*at, "args", NESTED)), _stretches(section, span), strict=True
            )
            for finding in _tried(nested, stretch or LONG, dummy, path)
        ]
        if found:
            return found

    def attempt(args: Args) -> None:
        scheduler = _construct({"name": section["name"], "args": args}, dummy(), span)
        for _ in range(min(span, _most(section))):
            scheduler.step(1.0) if isinstance(scheduler, ReduceLROnPlateau) else scheduler.step()

    cls = _class_of(section)
    blamed = culprits(attempt, args, SCHEDULERS.needed(cls))
    own = SCHEDULERS.is_own(cls)  # it may need more than a rehearsal provides
    return [rejected(cls.__name__, key, said, args, (*at, "args")) for key, said in blamed if key or not own]


def _most(section: Section) -> int:
    """Return the steps that a rehearsal can take; `check_length` checks whether OneCycleLR ends too early."""
    nested = section.get("args", {}).get(NESTED)
    if nested:
        return min(map(_most, nested))
    total = _one_cycle(section)
    return min(total[1], TRIED) if total else TRIED


def _milestones(section: Section, at: At) -> Iterator[Finding]:
    """Yield findings for milestones that do not increase: SequentialLR would never reach some schedulers."""
    milestones = section.get("args", {}).get("milestones")
    if SCHEDULERS.find(section["name"]) is not lr_scheduler.SequentialLR or not isinstance(milestones, list):
        return
    if all(isinstance(step, int) for step in milestones) and milestones != sorted({*milestones}):
        yield mistaken("SequentialLR needs ascending milestones", milestones, "an ascending list", at)


def _nested(args: Args, at: At) -> Iterator[tuple[At, Any]]:
    nested = args.get(NESTED)
    for index, each in enumerate(nested if isinstance(nested, list) else ()):
        yield (*at, str(index)), each


def _can_nest(nested: Any) -> bool:
    """Whether the value is a scheduler section that can be nested; one that steps on a metric cannot."""
    match nested:
        case {"name": str(name), "args": dict(), **rest} | {"name": str(name), **rest}:
            return not rest.keys() - {"args"} and SCHEDULERS.find(name) is not ReduceLROnPlateau
    return False


def _unnested(nested: Any, at: At) -> Finding:
    expected = (
        "a name and args, such as {name: StepLR, args: {step_size: 10}}; ReduceLROnPlateau cannot be nested"
    )
    return mistaken("this scheduler cannot be nested", nested, expected, at)


def _callables(name: str, args: Args) -> list[str]:
    cls = SCHEDULERS.find(name)
    declared = SCHEDULERS.parameters(cls) if cls else {}
    return [key for key in args if key in declared and "Callable" in str(declared[key].annotation)]


def _located(dotted: Any) -> Any:
    if isinstance(dotted, list):
        return [_located(one) for one in dotted]
    return locate(dotted) if isinstance(dotted, str) else dotted


def _unlocated(dotted: Any, path: At) -> Iterator[Finding]:
    try:
        _located(dotted)
    except Exception as error:
        yield Finding(
            *(0, path, NO_CALLABLE, f"`{dotted}` cannot be imported: {one_line(error)}"),
            found=str(dotted),
            expected="the dotted path of a callable, such as `specs.schedules:warmup`",
        )
