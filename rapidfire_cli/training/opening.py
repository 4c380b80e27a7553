"""How a run comes into memory: data, MLSpec, model and optimizer, fresh or from its newest checkpoint."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rapidfire_cli.engine.directions import usual_direction
from rapidfire_cli.engine.messages import PREPARED, Assignment, RunOpened, Setup, reading
from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.terms import LOSS, TRAIN, VALIDATION, Direction, LeafConfig, Split, canonical
from rapidfire_cli.training import fingerprint, metrics, optimizers, remainder, rng, schedulers
from rapidfire_cli.training.batches import Feed
from rapidfire_cli.training.checkpoint import restore
from rapidfire_cli.training.custom import unusable
from rapidfire_cli.training.datasets import DataCache
from rapidfire_cli.training.epoch_metrics import Tally
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.live_run import Run
from rapidfire_cli.training.log import printing
from rapidfire_cli.training.loss_meter import STRIDE, Losses
from rapidfire_cli.training.memory import Growth
from rapidfire_cli.training.metric_buffer import Scores
from rapidfire_cli.training.predictions import Reader, is_causal
from rapidfire_cli.training.rows import RowCache, Source
from rapidfire_cli.training.settings import ProcessSettings
from rapidfire_cli.training.shared_files import SharedFiles
from rapidfire_cli.training.state import origins
from rapidfire_cli.training.tracked_config import Knobs, Reads
from rapidfire_cli.training.train_config import Plan, plan, usual_determinism


@dataclass(frozen=True, slots=True)
class Shared:
    """What the runs on a worker share."""

    setup: Setup
    spec: type[MLSpec]
    device: torch.device
    settings: ProcessSettings
    data: DataCache
    rows: RowCache
    growth: Growth
    misc: SharedFiles
    code: str  # JSON: hashes of the user's modules, as the MLSpec was imported
    environment: str  # JSON: packages, device, threads


def shared(setup: Setup, spec: type[MLSpec], room: int = 2**62) -> Shared:
    """Nothing loaded yet; there is `room` for runs at rest, in bytes."""
    device = torch.device(setup.device)
    torch.set_deterministic_debug_mode(usual_determinism(setup.device))
    with printing():  # as every run does, so that most turns find nothing to put back
        settings = ProcessSettings()
    return Shared(
        setup,
        spec,
        device,
        settings,
        DataCache(spec, json.loads(setup.data), settings),
        RowCache(setup.data_cache, device),
        Growth(room),
        SharedFiles(Path(setup.prepared if prepares(spec) else setup.misc)),
        canonical(dict(fingerprint.code())),
        canonical(dict(fingerprint.environment(setup.device, setup.threads))),
    )


def prepares(spec: type[MLSpec]) -> bool:
    """Whether there is something to be made once for all runs."""
    return spec.prepare is not MLSpec.prepare


def fingerprinted(assignment: Assignment, shared: Shared) -> RunOpened:
    """What the run's bits depend on here beside its config. Raises Failure, and what load_data raises."""
    loaded = shared.data.load(assignment.seed, json.loads(assignment.config))
    made = {PREPARED: fingerprint.files(shared.misc.path)} if prepares(shared.spec) else {}
    data = canonical({**json.loads(loaded.fingerprint), **made}) if made else loaded.fingerprint
    return RunOpened(assignment.run, shared.code, data, shared.environment)


def opened(assignment: Assignment, shared: Shared, reads: Reads | None = None) -> Run:
    """The run as its newest good checkpoint left it, or fresh; `reads` takes what is read of its leaf config.

    Raises Failure, and what user code raises.
    """
    leaf: LeafConfig = json.loads(assignment.config)
    its = plan(leaf)
    torch.set_deterministic_debug_mode(its.determinism(shared.setup.device))
    spec = shared.spec()
    reads = {} if reads is None else reads
    cfg = Knobs(leaf, reads)
    source = _source(assignment, leaf, spec, cfg, reads, shared)
    feeds = _feeds(source, shared)
    model = _model(spec, cfg, assignment.seed, shared.device)
    if (under := shared.settings.of_rows()) != source.under:
        feeds = _feeds(replace(source, under=under), shared)
    optimizer = optimizers.build(its.optimizer, model)
    steps = its.steps(len(feeds[TRAIN]))
    custom = _custom(spec, cfg, its)
    run = Run(
        assignment=assignment,
        fingerprint=fingerprinted(assignment, shared),
        plan=its,
        steps=steps,
        ends=_chunk_ends(steps, shared.setup.chunks),
        device=shared.device,
        spec=spec,
        cfg=cfg,
        loaded=source.loaded,
        feeds=feeds,
        model=model,
        forward=torch.compile(model) if its.compile else model,  # type: ignore[arg-type]
        optimizer=optimizer,
        schedule=_schedule(its, optimizer, steps, custom),
        scaler=_scaler(its, shared.device),
        tallies=_tallies(its, custom, model, shared, feeds),
        origins=origins(model, spec),
        streams=rng.first(assignment.seed),
        settings=shared.settings,
        opened=shared.settings.changes(),
        objective=shared.setup.objective,
    )
    if run.schedule:
        run.schedule.check_monitor({split: tally.names for split, tally in run.tallies.items()})
    restore(run)
    if not run.step:
        remainder.check(run)
    return run


def _source(
    assignment: Assignment, leaf: LeafConfig, spec: MLSpec, cfg: Knobs, reads: Reads, shared: Shared
) -> Source:
    """The data loaded, and the MLSpec initialised."""
    with shared.growth.apart():
        loaded = shared.data.load(assignment.seed, leaf)
    shared.settings.repeat(loaded.changes)
    reads |= loaded.reads
    rng.reseed(assignment.seed, "initialize_run")
    before = rng.capture()
    with shared.misc.initializing(leaf, reads):
        spec.initialize_run(shared.misc.path, cfg, "fit")
    drawn = not rng.undrawn(before)
    under = shared.settings.of_rows()
    return Source(assignment.run, assignment.seed, leaf, spec, cfg, reads, drawn, loaded, under)


def _feeds(source: Source, shared: Shared) -> dict[str, Feed]:
    """Before the model is made, so that what create_model leaves on the MLSpec cannot pass between runs."""
    other = cache(partial(_initialized, source, shared))
    splits = (split for split in (TRAIN, VALIDATION) if split in source.loaded.splits)
    with shared.growth.apart():
        return {split: shared.rows.feed(split, source, other) for split in splits}


def _initialized(source: Source, shared: Shared) -> MLSpec:
    """Another instance of the MLSpec, as the run's own is before its model is made."""
    spec = shared.spec()
    with shared.settings.apart():
        shared.settings.repeat(source.loaded.changes)
        rng.reseed(source.seed, "initialize_run")
        with shared.misc.initializing(source.leaf, source.reads):
            spec.initialize_run(shared.misc.path, source.cfg, "fit")
    return spec


def _model(spec: MLSpec, cfg: Knobs, seed: int, device: torch.device) -> nn.Module:
    rng.reseed(seed, "create_model")
    model = spec.create_model(cfg)
    if not isinstance(model, nn.Module):
        raise Failure(
            "error", f"create_model must return a torch.nn.Module; it returned {type(model).__name__}"
        )
    return model.to(device)


def _schedule(
    its: Plan, optimizer: optimizers.AnyOptimizer, steps: int, custom: Mapping[str, Any]
) -> schedulers.Schedule | None:
    if its.lr_scheduler is None:
        return None

    def direction(monitor: str) -> Direction | None:
        _, name = reading(dict.fromkeys((TRAIN, VALIDATION), (LOSS, *its.named_metrics, *custom)), monitor)
        said = metrics.direction_of(custom[name]) if name in custom else None
        return said or usual_direction(name)

    return schedulers.build(its.lr_scheduler, optimizer, schedulers.Length(its.epochs, steps), direction)


def _custom(spec: MLSpec, cfg: Knobs, its: Plan) -> Mapping[str, Any]:
    """The MLSpec's own metrics. Raises Failure where one cannot be used."""
    own = spec.metrics(cfg)
    for wrong in unusable(own, its.named_metrics):
        raise Failure("error", wrong.cause)
    return own


def _chunk_ends(steps: int, chunks: int) -> tuple[int, ...]:
    return tuple(round(chunk * steps / chunks) for chunk in range(1, chunks))


def _scaler(its: Plan, device: torch.device) -> torch.amp.GradScaler:
    return torch.amp.GradScaler(device.type, enabled=its.precision == "fp16")


def _tallies(
    its: Plan, custom: Mapping[str, Any], model: nn.Module, shared: Shared, splits: Iterable[Split]
) -> dict[Split, Tally]:
    stride = 1 if shared.device.type == "cpu" else STRIDE
    reader = Reader(is_causal(model))
    tallies = {}
    for split in splits:
        losses = Losses(LOSS if split == TRAIN else f"{split} {LOSS}", stride, fail=its.on_nan == "fail")
        own = {name: metric.clone() for name, metric in custom.items()}
        scores = Scores(its.named_metrics, own) if its.named_metrics or own else None
        tallies[split] = Tally(losses, scores, reader)
    return tallies
