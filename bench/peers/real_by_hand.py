"""Runs of a real MLSpec trained by hand: its own methods, AdamW, and rapidfire's documented seeding.

Rows are prepared once for all runs, as no run of these sweeps differs in a knob that they depend on: this is
what a careful person writes for one sweep.
"""

import importlib
import json
import random
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.work import PROCESSES, SEED, Figures, Leaf, Outcome, Work, key
from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.training.rng import derive, order

Rows = dict[str, list[Any]]


def contend(work: Work) -> Outcome:
    """Two processes share out the runs."""
    torch.set_num_threads(1)
    leaves = [*map(work.leaf, work.combinations)]
    importlib.import_module(work.mlspec.partition(":")[0])  # a worker has imported it when it is up
    start = time.perf_counter()
    prepared(work.mlspec, json.dumps(work.data), key(leaves[0]))  # once, before the processes part
    with get_context("fork").Pool(PROCESSES) as pool:
        figures = pool.map(trainer(work), leaves, chunksize=1)
    return Outcome(time.perf_counter() - start, dict(zip(map(key, leaves), figures, strict=True)))


def trainer(work: Work) -> Callable[[Leaf], Figures]:
    """What trains a run of the work."""
    return partial(train, work.mlspec, json.dumps(work.data), key(work.leaf(next(work.combinations))))


def train(mlspec: str, data: str, first: str, leaf: Leaf) -> Figures:
    """Train a run; the losses of training and validation, epoch by epoch."""
    spec, rows = prepared(mlspec, data, first)
    seed("create_model")
    model = spec.create_model(leaf)
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, **leaf["train"]["optimizer"]["args"])
    seed("training")
    figures: Figures = []
    for epoch in range(1, leaf["train"]["epochs"] + 1):
        shuffled = [rows["train"][index] for index in order(SEED, epoch, len(rows["train"])).tolist()]
        model.train()
        figures.append(passed(spec, model, leaf, shuffled, optimizer))
        model.eval()
        with torch.no_grad():
            figures.append(passed(spec, model, leaf, rows["validation"]))
    return figures


def passed(
    spec: MLSpec,
    model: nn.Module,
    leaf: Leaf,
    rows: list[Any],
    optimizer: torch.optim.Optimizer | None = None,
) -> float:
    """The weighted mean of the losses of the batches; with an optimizer, trained on them."""
    total, whole = 0.0, 0.0
    for batch, count in batches(spec, leaf, rows):
        outputs = spec.compute_forward(model, batch, leaf)
        if optimizer:
            optimizer.zero_grad()
            outputs["loss"].backward()
            optimizer.step()
        weight = float(outputs.get("weight", count))
        total += outputs["loss"].item() * weight
        whole += weight
    return total / whole


def batches(spec: MLSpec, leaf: Leaf, rows: list[Any]) -> Iterator[tuple[Any, int]]:
    """The batches of the rows in this order, and their sizes."""
    size = leaf["train"]["batch_size"]
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        yield spec.collate(part, leaf), len(part)


@cache
def prepared(mlspec: str, data: str, leaf: str) -> tuple[MLSpec, Rows]:
    """The MLSpec with the files that it prepares, and its rows by split."""
    module, _, name = mlspec.partition(":")
    spec: MLSpec = getattr(importlib.import_module(module), name)()
    cfg, section = json.loads(leaf), json.loads(data)
    with TemporaryDirectory(prefix="rapidfire-by-hand-") as misc:
        spec.prepare(Path(misc), section, [cfg])
        spec.initialize_run(Path(misc), cfg, "fit")
    splits = spec.load_data(section, cfg)
    return spec, {
        split: [spec.row_prep(row, cfg, split) for row in splits[split]] for split in ("train", "validation")
    }


def seed(purpose: str) -> None:
    """Seed what user code draws from."""
    value = derive(SEED, purpose)
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)
