"""The probe: checks of leaf configs that need torch and the MLSpec, made before anything is trained."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from rapidfire_cli.engine.directions import usual_direction
from rapidfire_cli.engine.messages import Finding, Probe, Probed
from rapidfire_cli.facts import RunOpened, reading
from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.problems import did_you_mean
from rapidfire_cli.terms import LOSS, TRAIN, VALIDATION, LeafConfig, canonical
from rapidfire_cli.training import custom, fingerprint, metrics, optimizers, schedulers, spec
from rapidfire_cli.training.failure import Failure, one_line
from rapidfire_cli.training.gang_check import gang_findings
from rapidfire_cli.training.layers import layer_findings
from rapidfire_cli.training.measuring import measure, meter
from rapidfire_cli.training.opening import Shared, fingerprinted
from rapidfire_cli.training.returned import Returned, returned_names
from rapidfire_cli.training.signatures import mistaken
from rapidfire_cli.training.tracked_config import TrackedConfig
from rapidfire_cli.training.train_config import TrainConfig, train_config


def probe(order: Probe, shared: Shared) -> Probed:
    """Check the MLSpec's signatures and each leaf config; return the findings and each config's metrics."""
    found = list(spec.findings(shared.spec, json.loads(shared.setup.data)))
    measured = []
    rehearsals = _Rehearsals(shared, order.seed)
    for index, text in enumerate((*order.leaves, *order.variants)):
        leaf = json.loads(text)
        its = train_config(leaf)
        own, returned = _own(leaf, shared.spec), returned_names(shared.spec)
        wrong = [*_findings(its, own, returned, shared.setup.device), *rehearsals.findings(its, leaf)]
        wrong += [*gang_findings(leaf, shared.setup.device), *layer_findings(leaf)]
        found += [replace(each, leaf=index) if each.leaf >= 0 else each for each in wrong]
        if index < len(order.leaves):
            measured.append(_measured(its, own, returned))
    for beginning in order.beginnings:
        from rapidfire_cli.training.warm_check import beginning_findings  # only warm starts wait for it

        found += beginning_findings(beginning, shared)
    texts = canonical(dict(fingerprint.texts()))
    gauge = meter(shared.device)
    peaks = tuple(measure(each, shared, gauge) for each in order.measured)
    memory = gauge.memory() if peaks else None
    opened = tuple(_continued(order, shared))
    return Probed(tuple(found), tuple(measured), opened, shared.code, texts, peaks=peaks, memory=memory)


def _continued(order: Probe, shared: Shared) -> Iterator[RunOpened]:
    """Yield the fingerprints of runs to be continued; skip a run that fails to load, since it fails later."""
    for assignment in order.continued:
        try:
            yield fingerprinted(assignment, shared)
        except Exception as error:
            print(f"rapidfire: run {assignment.run}: {one_line(error)}", file=sys.stderr)


class _Rehearsals:
    """Checks of optimizers and schedulers, made once for each combination of arguments."""

    def __init__(self, shared: Shared, seed: int) -> None:
        self._shared = shared
        self._seed = seed
        self._known: dict[str, list[Finding]] = {}

    def findings(self, its: TrainConfig, leaf: LeafConfig) -> list[Finding]:
        """Return the mistakes in the leaf config's optimizer and scheduler."""
        optimizer = self._once(json.dumps(its.optimizer), lambda: self._optimizer(its))
        if its.lr_scheduler is None:
            return optimizer
        section = its.lr_scheduler
        length = schedulers.Length(its.epochs, None)
        wrong = schedulers.scheduler_findings(section)
        if not wrong and schedulers.needs_steps(section):
            length = schedulers.Length(its.epochs, self._steps(its, leaf))
        key = json.dumps([its.optimizer, section, length.epochs, length.steps])
        scheduler = self._once(
            key, lambda: wrong or self._scheduler(its, section, length, sound=not optimizer)
        )
        return [*optimizer, *scheduler]

    def _once(self, key: str, find: Callable[[], list[Finding]]) -> list[Finding]:
        if key not in self._known:
            self._known[key] = find()
        return self._known[key]

    def _optimizer(self, its: TrainConfig) -> list[Finding]:
        tried = optimizers.rehearse(its.optimizer, self._shared.device)
        return [*optimizers.optimizer_findings(its.optimizer), *tried]

    def _scheduler(
        self, its: TrainConfig, section: schedulers.Section, length: schedulers.Length, sound: bool
    ) -> list[Finding]:
        said = its.optimizer if sound else {"name": "SGD", "args": {"momentum": 0.9}}
        found = schedulers.check_length(section, length)
        for _, optimizer in optimizers.sections(said):
            found = found or self._on(optimizer, section, length)
        return found

    def _on(
        self, optimizer: optimizers.Section, section: schedulers.Section, length: schedulers.Length
    ) -> list[Finding]:
        """Rehearse the scheduler, with and without parameters outside the optimizer's groups."""
        device = self._shared.device
        both = (
            schedulers.rehearse(section, length, partial(optimizers.dummy, optimizer, device, rest))
            for rest in ((True, False) if optimizer.get(optimizers.GROUPS) else (True,))
        )
        return min(both, key=len)

    def _steps(self, its: TrainConfig, leaf: LeafConfig) -> int | None:
        """Return the optimizer steps of an epoch; None if loading the data fails, as it will in the run."""
        try:
            rows = self._shared.data.load(self._seed, leaf).count(TRAIN)
        except Exception:
            return None
        return its.steps(rows)


def _findings(its: TrainConfig, own: Any, returned: Returned, device: str) -> Iterator[Finding]:
    yield from _metrics(its)
    unusable = () if own is None else custom.unusable(own, its.named_metrics)
    yield from (Finding(-1, ("mlspec",), "E422", each.cause, hint=each.hint) for each in unusable)
    yield from _unheeded(its)
    yield from _monitor(its, own, returned)
    yield from _combinations(its, device)


def _own(leaf: LeafConfig, spec: type[MLSpec]) -> Any:
    """Return the MLSpec's own metrics; None if they are only available in a running run."""
    try:
        return spec().metrics(TrackedConfig(leaf, {}))
    except Exception:  # it may need what initialize_run prepares
        return None


def _measured(its: TrainConfig, own: Any, returned: Returned) -> tuple[str, ...]:
    """Return the names of the leaf config's metrics; empty if they are unknown before a run starts."""
    if own is None or returned is None:
        return ()
    return (LOSS, *its.named_metrics, *map(str, own), *returned)


def _metrics(its: TrainConfig) -> Iterator[Finding]:
    for index, name in enumerate(its.named_metrics):
        if not metrics.known(name):
            yield Finding(
                *(0, ("named_metrics", str(index)), "E420", f"unknown metric `{name}`"),
                found=name,
                expected=metrics.OFFERED,
                hint=metrics.close_to(name),
            )


def _unheeded(its: TrainConfig) -> Iterator[Finding]:
    """Yield findings for keys beside a scheduler's arguments that would be ignored."""
    section, at = its.lr_scheduler, ("train", "lr_scheduler")
    if section is None or not schedulers.SCHEDULERS.find(section["name"]):
        return
    name, watches = section["name"], schedulers.watches(section)
    if watches and section.get("interval") == "step":
        yield mistaken(f"{name} steps after each epoch", "step", "epoch", (*at, "interval"))
    if "monitor" in section and not watches:
        expected = "no `monitor` (only ReduceLROnPlateau monitors a metric)"
        yield Finding(
            0, (*at, "monitor"), "E405", f"{name} has no argument `monitor`", expected=expected, of_key=True
        )


def _monitor(its: TrainConfig, own: Any, returned: Returned) -> Iterator[Finding]:
    """Yield a finding if ReduceLROnPlateau's metric is not measured, or its better direction is unknown."""
    section = its.lr_scheduler
    if section is None or not schedulers.watches(section) or not isinstance(own, Mapping):
        return
    monitor, known = section.get("monitor", LOSS), _measured(its, own, returned or ())
    _, name = reading(dict.fromkeys((TRAIN, VALIDATION), known), monitor)
    if name not in known and returned is not None:
        yield Finding(
            *(0, ("train", "lr_scheduler", "monitor"), "E421", f"no run measures `{monitor}`"),
            found=monitor,
            expected=f"one of {', '.join(known)}",
            hint=did_you_mean(monitor, known),
        )
    else:
        try:
            said = metrics.direction_of(own[name]) if name in own else None
            schedulers.watching(section, said or usual_direction(name))
        except Failure as failure:
            yield Finding(
                *(0, ("train", "lr_scheduler", "args"), "E403", failure.cause),
                expected="`mode: max` or `mode: min`",
            )


def _combinations(its: TrainConfig, device: str) -> Iterator[Finding]:
    if its.precision == "fp16" and device == "cpu":
        yield _clash("precision", "precision fp16 needs a GPU", "fp16 on cpu", "bf16 or fp32")
    if not optimizers.reevaluates(its.optimizer):
        return
    if its.precision != "fp32":
        yield _clash("precision", "LBFGS supports only fp32", its.precision, "fp32")
    if its.grad_accumulation != 1:
        found = str(its.grad_accumulation)
        yield _clash("grad_accumulation", "LBFGS does not support gradient accumulation", found, "1")


def _clash(knob: str, message: str, found: str, expected: str) -> Finding:
    return Finding(0, ("train", knob), "E408", message, found, expected)
