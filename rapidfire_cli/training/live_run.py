"""A run in memory: everything that its training reads and changes."""

import math
from bisect import bisect_right
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn

from rapidfire_cli.engine.checkpoints import Began, Best
from rapidfire_cli.engine.epoch_log import NOTHING, Logged
from rapidfire_cli.engine.messages import Assignment
from rapidfire_cli.facts import EpochEnded, Metric, RunOpened, reading
from rapidfire_cli.mlspec import Cfg, MLSpec
from rapidfire_cli.terms import TRAIN, Objective, Split
from rapidfire_cli.training import rng
from rapidfire_cli.training.batches import BatchSource
from rapidfire_cli.training.datasets import Loaded
from rapidfire_cli.training.epoch_metrics import EpochMetrics
from rapidfire_cli.training.frozen import Frozen
from rapidfire_cli.training.gang import Gang
from rapidfire_cli.training.model_state import registered_at, tensors_in
from rapidfire_cli.training.optimizers import AnyOptimizer, clear_gradients, members
from rapidfire_cli.training.schedulers import Schedule
from rapidfire_cli.training.settings import Changes, ProcessSettings
from rapidfire_cli.training.shards import local
from rapidfire_cli.training.share import WHOLE, Share
from rapidfire_cli.training.streams import Stream
from rapidfire_cli.training.tracked_config import Reads, seen
from rapidfire_cli.training.train_config import TrainConfig
from rapidfire_cli.training.weights import Weights, nbytes, weights
from rapidfire_cli.training.whole import whole

if TYPE_CHECKING:
    from rapidfire_cli.training.sharding import Sharded
    from rapidfire_cli.training.state import Origins, Snapshot

EPOCHS = ("train", "epochs")
BRIEF = 0.1  # seconds of an epoch (assumed: a stop may wait for so long)
UNCHANGED = nullcontext()  # made once, since each step enters two
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}

Position: TypeAlias = tuple[int, int]
"""Finished epochs, and optimizer steps done in the next one."""


@dataclass(slots=True, eq=False)
class LiveRun:
    """A run's objects and its position; consistent at the end of every optimizer step."""

    assignment: Assignment
    fingerprint: RunOpened
    train: TrainConfig
    steps: int  # optimizer steps in an epoch
    ends: tuple[int, ...]  # optimizer steps in an epoch at which ticks end, without the end of the epoch
    device: torch.device
    spec: MLSpec
    cfg: Cfg
    loaded: Loaded  # the reference keeps the data in memory
    batch_sources: Mapping[Split, BatchSource]
    model: nn.Module
    forward: nn.Module  # the model, compiled if `train.compile` is set
    optimizer: AnyOptimizer
    schedule: Schedule | None
    scaler: torch.amp.GradScaler
    epoch_metrics: Mapping[Split, EpochMetrics]
    origins: "Origins"  # the state of its objects before any training
    frozen: Frozen  # the tensors of its model that create_model recreates
    streams: rng.Streams  # its random streams while it does not train
    settings: ProcessSettings
    opened: Changes  # of the process's settings, before its training began
    reads: Reads  # of its config
    stream: Stream | None = None  # of rows that can only be iterated
    objective: Objective | None = None  # decides which epoch is the best
    gang: Gang | None = None  # the processes that train it together; None on one device
    sharded: "Sharded | None" = None  # its model, if the processes hold parts of it
    before: "Snapshot | None" = None  # the state before the current validation, if that may be interrupted
    training: bool = False  # True during its turn
    disturbed: bool = False  # another run wrote to shared frozen weights: this run must be reopened
    rewound: "Snapshot | None" = None  # the state to save after an interrupted validation
    epoch: int = 0  # finished epochs
    done: int = 0  # optimizer steps in the current epoch
    step: int = 0  # optimizer steps in total
    seconds: float = 0.0  # of training and validation in the current epoch
    outcome: dict[Split, dict[str, float]] = field(default_factory=dict)  # the last epoch's metrics
    history: list[EpochEnded] = field(default_factory=list)
    logged: Logged = NOTHING  # the part of `history` that is in the epoch log
    epochs_were_read: bool = False  # `train.epochs` was read before the run was opened
    began: Began | None = None  # the other run whose epochs it started with
    best: Best | None = None  # the best epoch so far, by the objective
    best_weights: Weights | Path | None = None  # of that epoch: in memory or in a published file
    trained_by: int | None = None  # devices until now, if it continues on another number of them
    damaged: list[str] = field(default_factory=list)  # checkpoints that were skipped, and why
    durable: Position = (0, 0)  # the position that a checkpoint holds; the start needs none
    directories_synced: bool = (
        False  # whether this process synced the directories that lead to its checkpoints
    )
    unsaved: float = 0.0  # seconds of training since the last checkpoint

    @property
    def share(self) -> Share:
        """The part of each batch that this process trains."""
        if self.gang is None:
            return WHOLE
        return self.gang.filling if self.sharded else self.gang.share

    @property
    def is_brief(self) -> bool:
        """Whether the last epoch was so short that a stop can wait for the end of a validation."""
        return self.gang is None and bool(self.history) and self.history[-1].seconds < BRIEF

    @property
    def is_coupled(self) -> bool:
        """Whether a rank's gradients depend on those of other ranks already during the backward pass."""
        return self.gang is not None and (self.sharded is not None or self.train.batch_norm == "sync")

    @property
    def position(self) -> Position:
        """Finished epochs, and optimizer steps done in the next one."""
        return self.epoch, self.done

    @property
    def ticks(self) -> int:
        """The number of completed ticks."""
        return self.epoch * (len(self.ends) + 1) + bisect_right(self.ends, self.done)

    @property
    def chunks(self) -> int:
        """Ticks per epoch."""
        return len(self.ends) + 1

    @property
    def goal(self) -> int:
        """The ticks of the whole run."""
        return self.train.epochs * self.chunks

    @property
    def epochs_read(self) -> bool:
        """Whether user code has read the number of epochs, so that the run's bits may depend on it."""
        return self.epochs_were_read or seen(self.reads, EPOCHS)

    @property
    def size(self) -> int:
        """Bytes of tensors that only this run holds while it waits: its model and its optimizer's state."""
        pooled = {id(registered_at(self.model, name)) for name in self.frozen.stored}
        held = [each for each in (*self.model.parameters(), *self.model.buffers()) if id(each) not in pooled]
        for state in (state for each in members(self.optimizer) for state in each.state.values()):
            held += tensors_in(state)
        return sum(nbytes(local(each)) for each in held)

    @property
    def partial_metrics(self) -> tuple[Metric, ...]:
        """The training metrics of the current epoch; empty between two epochs. Raises Failure."""
        values = self.epoch_metrics[TRAIN].partial_values() if self.done else {}
        return tuple(Metric(TRAIN, name, value) for name, value in values.items())

    @property
    def trusted(self) -> Collection[str]:
        """The frozen weights that need no check, since the run cannot have changed them outside its turn."""
        if self.training:
            return ()
        return self.frozen.stored if self.disturbed else self.frozen.shared

    def enter(self) -> None:
        """Begin a turn: install the run's random streams in the process."""
        self.training = True
        rng.restore(self.streams)

    def leave(self) -> None:
        """End a turn: keep the random streams and drop the gradients."""
        self.training = False
        self.streams = rng.capture(like=self.streams)
        clear_gradients(self.optimizer)

    def pass_time(self, seconds: float) -> None:
        """Add time spent on training."""
        self.seconds += seconds
        self.unsaved += seconds

    def record_epoch(self) -> EpochEnded:
        """Add the epoch that has just ended to the history, and return its report."""
        named = [(split, *one) for split, values in self.outcome.items() for one in values.items()]
        metrics = tuple(Metric(split, name, value) for split, name, value in named)
        self.history.append(EpochEnded(self.assignment.run, self.epoch, self.step, metrics, self.seconds))
        self.seconds = 0.0
        self._note_best()
        return self.history[-1]

    def _note_best(self) -> None:
        """Keep a copy of the weights if the epoch that has just ended is the best so far."""
        if self.objective is None:
            return
        split, name = reading(self.outcome, self.objective.metric)
        value = self.outcome.get(split, {}).get(name, math.nan)
        sign = 1 if self.objective.direction == "max" else -1
        if math.isnan(value) or (self.best and sign * value <= sign * self.best.value):
            return
        self.best = Best(self.objective.metric, self.objective.direction, self.epoch, value)
        self.frozen.drop_changed(self.model)
        with whole(self, optimizer=False):
            if self.share.leads:
                self.best_weights = weights(self.model, self.frozen.hashes).copied()

    def end_epoch(self) -> None:
        """Compute the epoch's metrics and move to the beginning of the next epoch. Raises Failure."""
        self.outcome = {split: each.values() for split, each in self.epoch_metrics.items()}
        if self.schedule:
            self.schedule.after_epoch(self.outcome)
        for each in self.epoch_metrics.values():
            each.reset()
        self.epoch += 1
        self.done = 0

    def compute(self, batch: Any) -> Any:
        """Return what compute_forward returns for a batch; every rank of a sharded run calls this."""
        if self.sharded:
            return self.sharded.compute(batch)
        return self.spec.compute_forward(self.forward, batch, self.cfg)

    def autocast(self) -> AbstractContextManager[object]:
        """Return the autocast context of the run's precision."""
        return autocast(self.train, self.device)


def autocast(train: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Return the autocast context for the precision of a run's forward pass."""
    if train.precision == "fp32":
        return UNCHANGED
    return torch.autocast(device.type, AUTOCAST[train.precision])
