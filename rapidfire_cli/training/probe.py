"""What only torch and the MLSpec can tell of a leaf config, told before anything is trained."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace

from rapidfire_cli.engine.messages import Finding, Probe, Probed, RunOpened
from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.problems import did_you_mean
from rapidfire_cli.terms import LOSS, LeafConfig
from rapidfire_cli.training import measures, optimizers, schedulers, spec
from rapidfire_cli.training.failure import one_line
from rapidfire_cli.training.knobs import Knobs
from rapidfire_cli.training.opening import Shared, fingerprinted
from rapidfire_cli.training.plan import Plan, plan


def probe(order: Probe, shared: Shared) -> Probed:
    """What is wrong with the MLSpec's signatures and with each leaf config, and what each will measure."""
    found = list(spec.findings(shared.spec, json.loads(shared.setup.data)))
    measured = []
    for index, text in enumerate(order.leaves):
        leaf = json.loads(text)
        its = plan(leaf)
        found += [replace(finding, leaf=index) for finding in _findings(its, shared.setup.device)]
        measured.append(_measured(its, leaf, shared.spec))
    return Probed(tuple(found), tuple(measured), tuple(_continued(order, shared)), shared.code)


def _continued(order: Probe, shared: Shared) -> Iterator[RunOpened]:
    """What fails to load fails its run later, and is not our question here."""
    for assignment in order.continued:
        try:
            yield fingerprinted(assignment, shared)
        except Exception as error:
            print(f"rapidfire: run {assignment.run}: {one_line(error)}", file=sys.stderr)


def _findings(its: Plan, device: str) -> Iterator[Finding]:
    yield from optimizers.check(its.optimizer)
    if its.lr_scheduler:
        yield from schedulers.check(its.lr_scheduler)
    yield from _metrics(its)
    yield from _combinations(its, device)


def _measured(its: Plan, leaf: LeafConfig, spec: type[MLSpec]) -> tuple[str, ...]:
    """The names of the leaf config's metrics; none when the MLSpec can only tell once a run has begun."""
    usual = (LOSS, *its.named_metrics)
    if spec.metrics is MLSpec.metrics:
        return usual
    try:
        return (*usual, *spec().metrics(Knobs(leaf, {})))
    except Exception:  # it may need what initialize_run prepares
        return ()


def _metrics(its: Plan) -> Iterator[Finding]:
    for index, name in enumerate(its.named_metrics):
        if not measures.known(name):
            yield Finding(
                *(0, ("named_metrics", str(index)), "E420", f"there is no metric `{name}`"),
                found=name,
                expected="top1_accuracy, topK_accuracy, or a torchmetrics metric by its snake_case name",
                hint=did_you_mean(name, ["top1_accuracy", "top5_accuracy", *measures.names()]),
            )


def _combinations(its: Plan, device: str) -> Iterator[Finding]:
    if its.precision == "fp16" and device == "cpu":
        yield _clash("precision", "precision fp16 needs a GPU", "fp16 on cpu", "bf16 or fp32")
    if not optimizers.reevaluates(its.optimizer):
        return
    if its.precision != "fp32":
        yield _clash("precision", "LBFGS trains in fp32 only", its.precision, "fp32")
    if its.grad_accumulation != 1:
        found = str(its.grad_accumulation)
        yield _clash("grad_accumulation", "LBFGS does not accumulate gradients", found, "1")


def _clash(knob: str, message: str, found: str, expected: str) -> Finding:
    return Finding(0, ("train", knob), "E408", message, found, expected)
