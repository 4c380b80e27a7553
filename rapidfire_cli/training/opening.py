"""Open a run in memory: data, MLSpec, model and optimizer, from scratch or from its newest checkpoint."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rapidfire_cli.engine.directions import usual_direction
from rapidfire_cli.engine.messages import Assignment, Setup
from rapidfire_cli.facts import PREPARED, RunOpened, reading
from rapidfire_cli.mlspec import MLSpec, Mode
from rapidfire_cli.terms import LOSS, TRAIN, VALIDATION, Direction, LeafConfig, Split, canonical
from rapidfire_cli.training import fingerprint, metrics, optimizers, remainder, rng, schedulers, warm_start
from rapidfire_cli.training.batch_norm import synced
from rapidfire_cli.training.batches import BatchSource
from rapidfire_cli.training.checkpoint import restore
from rapidfire_cli.training.custom import unusable
from rapidfire_cli.training.data_pool import DataPool
from rapidfire_cli.training.datasets import DataCache, Loaded
from rapidfire_cli.training.disk_rows import DiskRows
from rapidfire_cli.training.epoch_metrics import EpochMetrics
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.frozen import Frozen, frozen
from rapidfire_cli.training.gang import Gang
from rapidfire_cli.training.gang_check import check_alike, check_shared
from rapidfire_cli.training.layers import layer_names
from rapidfire_cli.training.live_run import LiveRun
from rapidfire_cli.training.log import printing
from rapidfire_cli.training.loss_meter import STRIDE, LossMeter
from rapidfire_cli.training.memory import Growth
from rapidfire_cli.training.metric_buffer import MetricBuffer
from rapidfire_cli.training.predictions import Inputs, Reader, is_causal
from rapidfire_cli.training.returned import returned_names
from rapidfire_cli.training.returns import described
from rapidfire_cli.training.row_source import Source, stream_in
from rapidfire_cli.training.rows import RowCache
from rapidfire_cli.training.scalars import Scalars
from rapidfire_cli.training.settings import ProcessSettings
from rapidfire_cli.training.share import WHOLE
from rapidfire_cli.training.shared_files import SharedFiles
from rapidfire_cli.training.state import origins
from rapidfire_cli.training.tracked_config import Reads, TrackedConfig
from rapidfire_cli.training.train_config import TrainConfig, train_config, usual_determinism
from rapidfire_cli.training.weight_pool import WeightPool


@dataclass(frozen=True, slots=True)
class Shared:
    """The objects that all runs on a worker share."""

    setup: Setup
    spec: type[MLSpec]
    device: torch.device
    settings: ProcessSettings
    data: DataCache
    rows: RowCache
    growth: Growth
    pool: WeightPool
    misc: SharedFiles
    code: str  # JSON: hashes of the user's modules when the MLSpec was imported
    environment: str  # JSON: packages, device, threads


def shared(setup: Setup, spec: type[MLSpec], room: int = 2**62) -> Shared:
    """Create a worker's shared objects, without data; `room` is the memory for waiting runs, in bytes."""
    device = torch.device(setup.device)
    code = canonical(dict(fingerprint.code()))
    pool = DataPool(setup) if setup.data_workers else None
    environment = canonical(dict(fingerprint.environment(setup.device, setup.threads)))
    on_disk = DiskRows(Path(setup.rows), setup.disk_cache, canonical([setup.mlspec, code, environment]))
    torch.set_deterministic_debug_mode(usual_determinism(setup.device))
    with printing():  # with the streams that every run has, so that most turns need not restore them
        settings = ProcessSettings()
    return Shared(
        setup,
        spec,
        device,
        settings,
        DataCache(spec, json.loads(setup.data), settings),
        RowCache(setup.data_cache, device, on_disk, pool, code),
        Growth(room),
        WeightPool(),
        SharedFiles(Path(setup.prepared if prepares(spec) else setup.misc)),
        code,
        environment,
    )


def prepares(spec: type[MLSpec]) -> bool:
    """Whether the MLSpec has a `prepare` method of its own."""
    return spec.prepare is not MLSpec.prepare


def fingerprinted(assignment: Assignment, shared: Shared) -> RunOpened:
    """Return the hashes of code, data and environment that the run would have on this worker.

    Raises Failure, and what load_data raises.
    """
    loaded = shared.data.load(assignment.seed, json.loads(assignment.config))
    made = {PREPARED: fingerprint.files(shared.misc.path)} if prepares(shared.spec) else {}
    data = canonical({**json.loads(loaded.fingerprint), **made}) if made else loaded.fingerprint
    return RunOpened(assignment.run, shared.code, data, shared.environment)


def opened(
    assignment: Assignment, shared: Shared, reads: Reads | None = None, gang: Gang | None = None
) -> LiveRun:
    """Open the run from its newest undamaged checkpoint, or from scratch.

    `reads` records what is read from the leaf config. Raises Failure, and what user code raises.
    """
    leaf: LeafConfig = json.loads(assignment.config)
    layers = layer_names(leaf) if gang else ()
    share = (gang.filling if layers else gang.share) if gang else WHOLE
    its = train_config(leaf)
    torch.set_deterministic_debug_mode(its.determinism(shared.setup.device))
    with shared.growth.apart():
        loaded = shared.data.load(assignment.seed, leaf)
    source = replace(sourced(assignment, loaded, {} if reads is None else reads, shared, "fit"), share=share)
    spec, cfg = source.spec, source.cfg
    batch_sources = sources_of_batches(source, shared)
    device = torch.device("cpu") if layers else shared.device  # one device may lack the memory for all of it
    model, remade = made_model(spec, cfg, assignment.seed, device)
    if gang:
        check_shared(leaf, model, batch_sources[TRAIN], gang.share)
        if its.batch_norm == "sync":
            model = synced(model, gang.group())
    if (under := shared.settings.of_rows()) != source.under:
        batch_sources = sources_of_batches(replace(source, under=under), shared)
    optimizer = optimizers.build(its.optimizer, model)
    stream = stream_in(batch_sources[TRAIN])
    if stream and isinstance(optimizer, torch.optim.LBFGS):
        cause = "LBFGS reads a batch several times, and the rows of the train split can only be iterated"
        raise Failure("error", cause, knob=("train", "optimizer"))
    steps = its.steps(len(batch_sources[TRAIN]))
    custom = own_metrics(spec, cfg, its)
    run = LiveRun(
        assignment=assignment,
        fingerprint=fingerprinted(assignment, shared),
        train=its,
        steps=steps,
        ends=_chunk_ends(steps, shared.setup.chunks),
        device=device,
        spec=spec,
        cfg=cfg,
        loaded=source.loaded,
        batch_sources=batch_sources,
        model=model,
        forward=torch.compile(model) if its.compile else model,  # type: ignore[arg-type]
        optimizer=optimizer,
        schedule=_schedule(its, optimizer, steps, custom),
        scaler=_scaler(its, shared.device),
        epoch_metrics=epoch_metrics(its, custom, source, model, shared, batch_sources),
        origins=origins(model, spec, None if layers else optimizer),  # sharding builds another optimizer
        frozen=remade,
        streams=rng.first(assignment.seed, share.rank),
        settings=shared.settings,
        opened=shared.settings.changes(),
        reads=source.reads,
        stream=stream,
        objective=shared.setup.objective if share.leads or layers else None,
        gang=gang,
    )
    if run.schedule and (returned := returned_names(shared.spec)) is not None:
        known = {split: (*each.names, *returned) for split, each in run.epoch_metrics.items()}
        run.schedule.check_monitor(known)
    restore(run)
    if assignment.warm_start and not run.step:
        warm_start.begin(run, assignment.warm_start)
    remade.settle(model)
    if not run.step:
        remainder.check_remainder(run, tries=device == shared.device)
    if gang:
        check_alike(run, gang)
    if gang and layers:
        from rapidfire_cli.training.sharding import shard  # other runs need not wait for torch's sharding

        shard(run, gang, layers, shared.device, lambda made: _schedule(its, made, steps, custom))
    return run


def sourced(assignment: Assignment, loaded: Loaded, reads: Reads, shared: Shared, mode: Mode) -> Source:
    """Initialise the run's MLSpec for `mode` and return it with the data. Raises what user code raises."""
    leaf: LeafConfig = json.loads(assignment.config)
    spec, cfg = shared.spec(), TrackedConfig(leaf, reads)
    shared.settings.repeat(loaded.changes)
    reads |= loaded.reads
    rng.reseed(assignment.seed, "initialize_run")
    before = rng.capture()
    with shared.misc.initializing(leaf, reads):
        spec.initialize_run(shared.misc.path, cfg, mode)
    drawn = not rng.unchanged_since(before)
    under = shared.settings.of_rows()
    return Source(assignment, leaf, spec, cfg, reads, drawn, loaded, under)


def sources_of_batches(source: Source, shared: Shared) -> dict[str, BatchSource]:
    """Create the sources of batches, by split.

    This happens before the model is created, so that attributes which create_model sets on the MLSpec cannot
    reach other runs through shared rows.
    """
    other = cache(partial(_initialized, source, shared))
    splits = (split for split in (TRAIN, VALIDATION) if split in source.loaded.splits)
    with shared.growth.apart():
        return {split: shared.rows.batch_source(split, source, other) for split in splits}


def _initialized(source: Source, shared: Shared) -> MLSpec:
    """Return another instance of the MLSpec, initialised like the run's own."""
    spec = shared.spec()
    with shared.settings.apart():
        shared.settings.repeat(source.loaded.changes)
        rng.reseed(source.seed, "initialize_run")
        with shared.misc.initializing(source.leaf, source.reads):
            spec.initialize_run(shared.misc.path, source.cfg, "fit")
    return spec


def made_model(spec: MLSpec, cfg: TrackedConfig, seed: int, device: torch.device) -> tuple[nn.Module, Frozen]:
    """Create the model on the device; return it and its frozen weights. Raises Failure."""
    rng.reseed(seed, "create_model")
    model: object = spec.create_model(cfg)
    if not isinstance(model, nn.Module):
        hint = f"; return {model.__name__}(…), an instance" if isinstance(model, type) else ""
        expected = "create_model must return a torch.nn.Module"
        raise Failure("error", f"{expected}; it returned {described(model)}{hint}")
    made = frozen(model)
    return model.to(device), made


def _schedule(
    its: TrainConfig, optimizer: optimizers.AnyOptimizer, steps: int, custom: Mapping[str, Any]
) -> schedulers.Schedule | None:
    if its.lr_scheduler is None:
        return None

    def direction(monitor: str) -> Direction | None:
        _, name = reading(dict.fromkeys((TRAIN, VALIDATION), (LOSS, *its.named_metrics, *custom)), monitor)
        said = metrics.direction_of(custom[name]) if name in custom else None
        return said or usual_direction(name)

    return schedulers.build(its.lr_scheduler, optimizer, schedulers.Length(its.epochs, steps), direction)


def own_metrics(spec: MLSpec, cfg: TrackedConfig, its: TrainConfig) -> Mapping[str, Any]:
    """Return the MLSpec's own metrics. Raises Failure if one cannot be used."""
    own = spec.metrics(cfg)
    for wrong in unusable(own, its.named_metrics):
        raise Failure("error", wrong.cause)
    return own


def _chunk_ends(steps: int, chunks: int) -> tuple[int, ...]:
    return tuple(round(chunk * steps / chunks) for chunk in range(1, chunks))


def _scaler(its: TrainConfig, device: torch.device) -> torch.amp.GradScaler:
    return torch.amp.GradScaler(device.type, enabled=its.precision == "fp16")


def epoch_metrics(
    its: TrainConfig,
    custom: Mapping[str, Any],
    source: Source,
    model: nn.Module,
    shared: Shared,
    splits: Iterable[Split],
) -> dict[Split, EpochMetrics]:
    """Create the empty metrics of an epoch for each split."""
    stride = 1 if shared.device.type == "cpu" else STRIDE
    reader = Reader(is_causal(model), inputs=_metric_inputs(source.spec, source.cfg))
    found = {}
    for split in splits:
        losses = LossMeter(LOSS if split == TRAIN else f"{split} {LOSS}", stride, fail=its.on_nan == "fail")
        own = {name: metric.clone() for name, metric in custom.items()}
        scores = MetricBuffer(its.named_metrics, own) if its.named_metrics or own else None
        scalars = Scalars(stride, scores.names if scores else ())
        found[split] = EpochMetrics(losses, scores, scalars, reader)
    return found


def _metric_inputs(spec: MLSpec, cfg: TrackedConfig) -> Inputs | None:
    """Return the MLSpec's `metric_inputs`; None if it does not define one."""
    if type(spec).metric_inputs is MLSpec.metric_inputs:
        return None
    return lambda outputs, batch: spec.metric_inputs(outputs, batch, cfg)
