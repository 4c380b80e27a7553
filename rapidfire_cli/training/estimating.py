"""Estimate how much memory a run needs, by training it on fake tensors: these have shapes, but no data.

A real batch is prepared and turned into a fake one. The model is made and trained for two steps, so that
parameters, gradients, the optimizer's state and what the backward pass needs are all counted. Where user code
or PyTorch cannot do without data, nothing is said. Everything is fake on the CPU, whatever the device.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map

from rapidfire_cli.engine.messages import Assignment, Finding, Smoke
from rapidfire_cli.terms import LOSS, TRAIN, LeafConfig, gang_size
from rapidfire_cli.training import optimizers
from rapidfire_cli.training.epoch_rows import epoch_rows
from rapidfire_cli.training.live_bytes import LiveBytes
from rapidfire_cli.training.live_run import autocast
from rapidfire_cli.training.measuring import STEPS, meter
from rapidfire_cli.training.opening import Shared, sourced, sources_of_batches
from rapidfire_cli.training.row_source import Source
from rapidfire_cli.training.train_config import TrainConfig, train_config

GIB = 2**30


def too_large(order: Smoke, shared: Shared) -> Iterator[Finding]:
    """Yield a finding if the run needs more memory than the device has; nothing where that is not known."""
    leaf: LeafConfig = json.loads(order.config)
    if gang_size(leaf) > 1 or leaf.get("fsdp_layer_cls"):
        return  # each device trains a part of it
    with suppress(Exception):  # what is wrong is found by training a real batch
        size = estimate(leaf, order.seed, shared)
        most = meter(shared.device).memory().total
        if size > most:
            yield _finding(size, most, train_config(leaf).batch_size)


def _finding(size: int, most: int, rows: int) -> Finding:
    return Finding(
        *(0, ("train", "batch_size"), "E433", "the run needs more memory than the device has"),
        found=f"about {size / GIB:,.1f} GiB to train a batch of {rows}",
        expected=f"at most {most / GIB:,.1f} GiB",
        hint="use a smaller batch or model, or several devices (`train.gpus`)",
    )


def estimate(leaf: LeafConfig, seed: int, shared: Shared) -> int:
    """Return the bytes of tensors that the run needs at most. Raises what user code raises."""
    its = train_config(leaf)
    source = sourced(
        Assignment(0, json.dumps(leaf), seed, ""), shared.data.load(seed, leaf), {}, shared, "fit"
    )
    batch = _batch(its, source, shared)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, LiveBytes() as live:
        _train(its, source, tree_map(lambda each: _faked(fake, each), batch))
    peak: int = live.peak
    return peak


def _faked(fake: FakeTensorMode, value: Any) -> Any:
    return fake.from_tensor(value.cpu()) if isinstance(value, Tensor) else value


def _batch(its: TrainConfig, source: Source, shared: Shared) -> Any:
    """Return the first batch of training, with its data."""
    feed = sources_of_batches(source, shared)[TRAIN]
    rows = epoch_rows(its, source.seed, 1, len(feed), False)[: its.batch_size]
    return next(iter(feed.batches(rows, its.batch_size, 1, 0)))


def _train(its: TrainConfig, source: Source, batch: Any) -> None:
    """Train two steps on one batch of fake tensors."""
    model = source.spec.create_model(source.cfg).train()
    optimizer = optimizers.build(its.optimizer, model)
    for _ in range(STEPS):
        optimizer.zero_grad()
        with autocast(its, torch.device("cpu")):
            outputs = source.spec.compute_forward(model, batch, source.cfg)
        outputs[LOSS].backward()  # type: ignore[no-untyped-call]
        for each in optimizers.members(optimizer):
            each.step()
