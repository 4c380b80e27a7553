"""Runs that a gang and one device must train alike, by what is special about them."""

import random
from typing import Any

import torch
import torchmetrics
from torch import nn

from rapidfire_cli.mlspec import MLSpec
from tests.training.sandbox import ADAM, leaf


def rows(count, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 6, generator=generator)
    labels = (x.sum(1) > 0).long()
    return [{"x": x[i], "labels": labels[i]} for i in range(count)]


class Plain(MLSpec):
    """Epochs end with a batch of one row."""

    def load_data(self, data, cfg):
        return {"train": rows(43, 1), "validation": rows(23, 2)}

    def create_model(self, cfg):
        return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 2))

    def logits(self, model, batch):
        return model(batch["x"])

    def compute_forward(self, model, batch, cfg):
        logits = self.logits(model, batch)
        loss = nn.functional.cross_entropy(logits, batch["labels"])
        return {"loss": loss, "logits": logits, "labels": batch["labels"], "size": logits.abs().mean()}


class Frozen(Plain):
    def create_model(self, cfg):
        model = super().create_model(cfg)
        model[0].weight.requires_grad = False
        return model


class Tied(Plain):
    def create_model(self, cfg):
        model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
        model[2].weight = model[0].weight
        return model


class InParts(Plain):
    """Calls parts of its model, and leaves one part out."""

    def create_model(self, cfg):
        model = super().create_model(cfg)
        model.extra = nn.Linear(3, 3)
        return model

    def logits(self, model, batch):
        return model[2](model[1](model[0](batch["x"])))


class Augmented(Plain):
    """Prepares each row with random numbers."""

    def row_prep(self, row, cfg, mode):
        return {**row, "x": row["x"] + 0.1 * torch.randn(6) * random.random()}


class Weighted(Plain):
    """Says how much each batch counts."""

    def compute_forward(self, model, batch, cfg):
        outputs = super().compute_forward(model, batch, cfg)
        weights = 1 + batch["x"][:, 0].abs()
        losses = nn.functional.cross_entropy(outputs["logits"], batch["labels"], reduction="none")
        total = weights.sum()
        size = (outputs["logits"].abs().mean(1) * weights).sum() / total
        return {**outputs, "loss": (losses * weights).sum() / total, "weight": total, "size": size}


class Scaled(Plain):
    """Has a parameter without dimensions, and one that a layer and the model around it share."""

    def create_model(self, cfg):
        model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
        model.scale = nn.Parameter(torch.tensor(1.5))
        model.twin = model[2].weight
        return model

    def logits(self, model, batch):
        return model(batch["x"] @ model.twin) * model.scale


class Ignoring(Plain):
    """Ignores batches, whose loss is then no number; some ranks' parts of them count and others do not."""

    def compute_forward(self, model, batch, cfg):
        outputs = super().compute_forward(model, batch, cfg)
        labels = torch.where(batch["x"][:, 0] < 0.6, -100, batch["labels"])
        loss = nn.functional.cross_entropy(outputs["logits"], labels)
        return {"loss": loss, "weight": (labels >= 0).sum()}


class Block(nn.Module):
    """A layer with attention and normalisation."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(size), nn.MultiheadAttention(size, 2, batch_first=True)
        self.inner = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        normed = self.norm(x)
        x = x + self.attention(normed, normed, normed, need_weights=False)[0]
        return x + self.inner(x)


class Layered(Plain):
    """Has layers of a class of its own, and layers within layers."""

    def create_model(self, cfg):
        return nn.Sequential(nn.Linear(1, 8), Block(8), Block(8), nn.Flatten(), nn.Linear(48, 2))

    def logits(self, model, batch):
        return model(batch["x"][..., None])


class Adapted(Layered):
    """A frozen model with LoRA adapters of peft."""

    def create_model(self, cfg):
        from peft import LoraConfig, get_peft_model

        return get_peft_model(
            super().create_model(cfg), LoraConfig(r=2, target_modules=["0", "4", "inner.0"])
        )

    def logits(self, model, batch):
        return model(batch["x"][..., None])


class Normalised(Weighted, Layered):
    """Normalises over batches whose rows differ in weight."""

    def create_model(self, cfg):
        first, *others = super().create_model(cfg)
        return nn.Sequential(first, nn.BatchNorm1d(6), nn.Tanh(), *others)


class Measured(Plain):
    """Has a metric of its own, of a library that looks for a process group."""

    def metrics(self, cfg):
        return {"mean_accuracy": torchmetrics.classification.MulticlassAccuracy(2)}


def case(spec: str = "Plain", setup: dict[str, Any] | None = None, **train: Any) -> tuple[str, Any, Any]:
    metrics = train.pop("named_metrics", ("top1_accuracy",))
    config = leaf(**{"batch_size": 7, "named_metrics": metrics, **train, "gpus": 2})
    return spec, config, setup or {}


SEVERAL = [
    {"name": "AdamW", "match": "0.*", "args": {"lr": 0.01}},
    {"name": "SGD", "args": {"lr": 0.1, "momentum": 0.9}},
]
PLATEAU = {"name": "ReduceLROnPlateau", "args": {"patience": 0, "factor": 0.1}, "monitor": "loss"}
LBFGS = {"name": "LBFGS", "args": {"lr": 0.1, "max_iter": 3}}
CASES = {
    "an indivisible batch size": case(),
    "accumulation and weights": case("Weighted", grad_accumulation=3, batch_size=5),
    "rows prepared by data workers": case("Augmented", {"data_workers": 1, "data_cache": 0}),
    "clipping": case(max_grad_norm=0.05),
    "a scheduler that follows a metric": case(lr_scheduler=PLATEAU),
    "frozen weights": case("Frozen"),
    "a model in parts": case("InParts", optimizer={"name": "AdamW", "args": {"lr": 0.01}}),
    "chunks and checkpoints at every step": case(setup={"chunks": 3, "checkpoint_every": 0}),
    "tied weights": case("Tied"),
    "a metric of torchmetrics": case("Measured"),
    "several optimizers": case(optimizer=SEVERAL),
    "metrics over all rows": case(named_metrics=("f1_score", "auroc", "matthews_corr_coef", "exact_match")),
    "rows on disk": case(setup={"data_cache": 0, "disk_cache": 2**24}),
    "an optimizer that evaluates the loss again": case(optimizer=LBFGS, steps_per_epoch=1, epochs=2),
    "another size of validation batches": case(eval_batch_size=5),
    "steps per epoch": case(steps_per_epoch=4),
    "dropped rows": case(drop_last=True),
    "another optimizer": case(optimizer=ADAM, batch_size=2),
}
SYNCED = {"max_grad_norm": 0.5, "batch_norm": "sync", "drop_last": True}
NORMALISED = {
    "rows of several batches normalised together": case(
        "Normalised", **SYNCED, grad_accumulation=2, batch_size=5
    ),
    "rows normalised together": case("Normalised", **SYNCED),
}
"""Needs kernels that torch does not have for the CPU: tests/training/normalising.py."""
CASES |= NORMALISED


def sharded(case: tuple[str, Any, Any], *layers: str, **train: Any) -> tuple[str, Any, Any]:
    """The case with a sharded model."""
    spec, config, setup = case
    names = [*layers] or ["torch.nn.Linear"]
    return spec, {**config, "train": {**config["train"], **train}, "fsdp_layer_cls": names}, setup


ELEMENTWISE = ("Adadelta", "Adagrad", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop")
BLOCK = "tests.training.gang_specs.Block"
WHOLE_ONLY = ("an optimizer that evaluates the loss again", *NORMALISED)
ACCUMULATED = {"grad_accumulation": 3, "batch_size": 2, "max_grad_norm": 0.1}
SHARDED = {
    **{f"{name}, sharded": sharded(each) for name, each in CASES.items() if name not in WHOLE_ONLY},
    **{f"{name}, sharded": sharded(case(optimizer={"name": name})) for name in ELEMENTWISE},
    "parameters that cannot be divided": sharded(case("Scaled", max_grad_norm=0.2)),
    "batches that do not count": sharded(case("Ignoring", named_metrics=(), batch_size=2)),
    "accumulated batches that do not count": sharded(case("Ignoring", named_metrics=(), **ACCUMULATED)),
    "layers within layers": sharded(case("Layered"), BLOCK, "torch.nn.Sequential"),
    "an adapted model": sharded(case("Adapted", setup={"checkpoint_every": 0, "chunks": 2}), BLOCK),
    "layers in bfloat16": sharded(case("Layered", precision="bf16"), BLOCK),
    "layers of a class": sharded(case("Layered", setup={"checkpoint_every": 0}), BLOCK),
    **{f"{name}, sharded": sharded(each, BLOCK) for name, each in NORMALISED.items()},
}
CASES |= SHARDED
