"""One run trained by hand: the digits MLP, to the bits that rapidfire's documented seeding gives.

The seeding is the only thing taken from rapidfire; the model, row_prep and loss are those of specs/digits.py.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import TypeAlias

import torch
import torch._dynamo
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, default_collate

from bench.work import DIGITS, SEED, Figures, Leaf, Work
from rapidfire_cli.training.rng import derive, order
from specs.digits import DigitsSpec

Batch: TypeAlias = dict[str, Tensor]
Feed: TypeAlias = Callable[[str, Tensor, int], Iterable[Batch]]
"""Batches of a split's rows in this order (rows,), so many rows each."""

SPEC = DigitsSpec()


def objective(work: Work) -> Callable[[Leaf], Figures]:
    """What a tool is to call for each run: training from sliced tensors, a real model, or nothing (zeros)."""
    if work.mlspec == DIGITS.mlspec:
        return partial(train, feed=sliced)
    if work.data is None:
        return lambda _: [0.0] * 4
    from bench.peers import real_by_hand

    return real_by_hand.trainer(work)


@cache
def data() -> dict[str, Dataset[tuple[Tensor, Tensor]]]:
    """The datasets by split."""
    return SPEC.load_data({}, {})


@cache
def prepared(split: str) -> Batch:
    """A split's rows, prepared and stacked."""
    return default_collate([SPEC.row_prep(row, {}, split) for row in data()[split]])


def sliced(split: str, rows: Tensor, size: int) -> Iterable[Batch]:
    """Shuffle the stacked rows once, then cut."""
    fields = {name: field[rows].split(size) for name, field in prepared(split).items()}
    return (dict(zip(fields, batch, strict=True)) for batch in zip(*fields.values(), strict=True))


def loaded(split: str, rows: Tensor, size: int) -> Iterable[Batch]:
    """A DataLoader that prepares and collates each row anew."""

    def collate(examples: list[tuple[Tensor, Tensor]]) -> Batch:
        return default_collate([SPEC.row_prep(row, {}, split) for row in examples])

    own = torch.Generator()  # lest the loader draws from the generator that dropout draws from
    return DataLoader(data()[split], size, sampler=rows.tolist(), collate_fn=collate, generator=own)


def train(leaf: Leaf, feed: Feed, seed: int = SEED) -> Figures:
    """Train a run from its first epoch to its last."""
    return [figure for epoch in epochs(leaf, feed, seed) for figure in epoch]


def epochs(leaf: Leaf, feed: Feed, seed: int = SEED) -> Iterator[tuple[float, ...]]:
    """Train a run epoch by epoch; each gives its figures."""
    size = leaf["train"]["batch_size"]
    torch.manual_seed(derive(seed, "create_model"))
    model = SPEC.create_model(leaf)
    optimizer = torch.optim.Adam(model.parameters(), **leaf["train"]["optimizer"]["args"])
    torch.manual_seed(derive(seed, "training"))
    held_out = torch.arange(len(data()["validation"]))
    for epoch in range(1, leaf["train"]["epochs"] + 1):
        shuffled = order(seed, epoch, len(data()["train"]))
        model.train()
        trained = passed(model, leaf, feed("train", shuffled, size), optimizer)
        model.eval()
        with torch.no_grad():
            yield *trained, *passed(model, leaf, feed("validation", held_out, size))


def passed(
    model: nn.Module, leaf: Leaf, batches: Iterable[Batch], optimizer: torch.optim.Optimizer | None = None
) -> tuple[float, float]:
    """Loss and accuracy over the batches; with an optimizer, trained on them."""
    loss, logits, labels = 0.0, [], []
    for batch in batches:
        outputs = SPEC.compute_forward(model, batch, leaf)
        if optimizer:
            optimizer.zero_grad()
            outputs["loss"].backward()
            optimizer.step()
        loss += outputs["loss"].item() * len(batch["labels"])
        logits.append(outputs["logits"].detach())
        labels.append(batch["labels"])
    truth = torch.cat(labels)
    hits = int((torch.cat(logits).argmax(1) == truth).sum())
    return loss / len(truth), hits / len(truth)
