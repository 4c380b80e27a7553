"""Estimate how much memory a run needs, by training it on fake tensors: these have shapes, but no data.

A real batch is prepared and turned into a fake one. The model is made and trained for two steps, so that
parameters, gradients, the optimizer's state and what the backward pass needs are all counted. Where user code
or PyTorch cannot do without data, nothing is said. Everything is fake on the CPU, whatever the device.

Of a run on several devices, the first rank's share of a batch is trained. Where the run is sharded, what that
leaves on each device is taken off: of the parameters, gradients and optimizer state, all but its part. What a
layer gathers is not added, so the estimate is too low rather than too high.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map

from rapidfire_cli.engine.messages import Assignment, Finding, Smoke
from rapidfire_cli.terms import LOSS, TRAIN, LeafConfig, gang_size, takes_all_gpus
from rapidfire_cli.training import optimizers
from rapidfire_cli.training.epoch_rows import epoch_rows
from rapidfire_cli.training.live_bytes import LiveBytes
from rapidfire_cli.training.live_run import autocast
from rapidfire_cli.training.measuring import STEPS, meter
from rapidfire_cli.training.opening import Shared, sourced, sources_of_batches
from rapidfire_cli.training.row_source import Source
from rapidfire_cli.training.share import Share
from rapidfire_cli.training.train_config import TrainConfig, train_config

GIB = 2**30


def too_large(order: Smoke, shared: Shared) -> Iterator[Finding]:
    """Yield a finding if the run needs more memory than the device has; nothing where that is not known."""
    leaf: LeafConfig = json.loads(order.config)
    if takes_all_gpus(leaf):
        return  # one device is all that a worker sees
    with suppress(Exception):  # what is wrong is found by training a real batch
        size, most = estimate(leaf, order.seed, shared), meter(shared.device).memory().total
        if shared.device.type == "cpu":  # all ranks have the same memory
            most //= gang_size(leaf)
        if size > most:
            yield _finding(size, most, leaf)


def _finding(size: int, most: int, leaf: LeafConfig) -> Finding:
    ranks, rows = gang_size(leaf), train_config(leaf).batch_size
    where = f" on each of {ranks} devices" if ranks > 1 else ""
    if ranks == 1:
        hint = "several devices (`train.gpus`)"
    elif leaf.get("fsdp_layer_cls"):
        hint = "more devices"
    else:
        hint = "more devices, or shard the model (`fsdp_layer_cls`)"
    return Finding(
        *(0, ("train", "batch_size"), "E433", "the run needs more memory than the device has"),
        found=f"about {size / GIB:,.1f} GiB{where} to train a batch of {rows}",
        expected=f"at most {most / GIB:,.1f} GiB",
        hint=f"use a smaller batch or model, or {hint}",
    )


def estimate(leaf: LeafConfig, seed: int, shared: Shared) -> int:
    """Return the bytes of tensors that the run needs at most, on a device. Raises what user code raises."""
    its, share = train_config(leaf), Share(0, gang_size(leaf), fills=True)
    source = sourced(
        Assignment(0, json.dumps(leaf), seed, ""), shared.data.load(seed, leaf), {}, shared, "fit"
    )
    batch = _batch(its, share, source, shared)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, LiveBytes() as live:
        state = _train(its, source, tree_map(lambda each: _faked(fake, each), batch))
    peak: int = live.peak
    return peak - (state - state // share.size if leaf.get("fsdp_layer_cls") else 0)


def _faked(fake: FakeTensorMode, value: Any) -> Any:
    return fake.from_tensor(value.cpu()) if isinstance(value, Tensor) else value


def _batch(its: TrainConfig, share: Share, source: Source, shared: Shared) -> Any:
    """Return the first batch of training, with its data."""
    feed, size = sources_of_batches(source, shared)[TRAIN], share.prepared(its.batch_size)
    rows = epoch_rows(its, source.seed, 1, len(feed), False)[:size]
    return next(iter(feed.batches(rows, size, 1, 0)))


def _train(its: TrainConfig, source: Source, batch: Any) -> int:
    """Train two steps on one batch of fake tensors; return the bytes of what sharding would divide."""
    model = source.spec.create_model(source.cfg).train()
    optimizer = optimizers.build(its.optimizer, model)
    for _ in range(STEPS):
        optimizers.clear_gradients(optimizer)
        with autocast(its, torch.device("cpu")):
            outputs = source.spec.compute_forward(model, batch, source.cfg)
        outputs[LOSS].backward()  # type: ignore[no-untyped-call]
        for each in optimizers.members(optimizer):
            each.step()
    held = [each for parameter in model.parameters() for each in (parameter, parameter.grad)]
    made = [leaf for each in optimizers.members(optimizer) for leaf in tree_leaves(dict(each.state))]
    return sum(each.nbytes for each in (*held, *made) if isinstance(each, Tensor))
