"""The training settings of a leaf config, with types and defaults."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from rapidfire_cli.terms import LeafConfig

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """The `train` section with its defaults, and the named metrics."""

    epochs: int
    batch_size: int  # rows per forward and backward
    optimizer: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    lr_scheduler: Mapping[str, Any] | None
    named_metrics: tuple[str, ...]
    eval_batch_size: int
    precision: Precision
    steps_per_epoch: int | None  # optimizer steps; None if an epoch is one pass over the split
    drop_last: bool  # whether an epoch drops the rows that do not fill a batch
    grad_accumulation: int  # batches per optimizer step
    max_grad_norm: float | None
    on_nan: Literal["fail", "continue"]
    compile: bool
    deterministic: bool | None
    batch_norm: Literal["local", "sync"] | None  # of a gang: over which rows; None refuses such layers

    @property
    def step_size(self) -> int:
        """Rows per optimizer step."""
        return self.batch_size * self.grad_accumulation

    def steps(self, rows: int) -> int:
        """Return the optimizer steps of an epoch, for a split with `rows` rows."""
        return self.steps_per_epoch or math.ceil(self.kept(rows) / self.step_size)

    def kept(self, rows: int) -> int:
        """Return the number of rows on which an epoch trains, for a split with `rows` rows."""
        kept = rows - rows % self.batch_size if self.drop_last else rows
        return self.steps_per_epoch * self.step_size if self.steps_per_epoch else kept

    def determinism(self, device: str) -> Literal["default", "warn", "error"]:
        """Return how torch treats operations without a deterministic implementation."""
        if self.deterministic is None:
            return usual_determinism(device)
        return "error" if self.deterministic else "default"


def usual_determinism(device: str) -> Literal["default", "warn"]:
    """Return how torch treats nondeterministic operations by default: on the CPU it warns."""
    return "warn" if device == "cpu" else "default"


def train_config(leaf: LeafConfig) -> TrainConfig:
    """Return the training settings of a leaf config that the grammar has accepted."""
    train = cast("dict[str, Any]", leaf["train"])
    return TrainConfig(
        epochs=train["epochs"],
        batch_size=train["batch_size"],
        optimizer=train["optimizer"],
        lr_scheduler=train.get("lr_scheduler"),
        named_metrics=tuple(dict.fromkeys(cast("list[str]", leaf.get("named_metrics", [])))),
        eval_batch_size=train.get("eval_batch_size") or train["batch_size"],
        precision=train.get("precision", "fp32"),
        steps_per_epoch=train.get("steps_per_epoch"),
        drop_last=train.get("drop_last", False),
        grad_accumulation=train.get("grad_accumulation", 1),
        max_grad_norm=train.get("max_grad_norm"),
        on_nan=train.get("on_nan", "fail"),
        compile=train.get("compile", False),
        deterministic=train.get("deterministic"),
        batch_norm=train.get("batch_norm"),
    )
