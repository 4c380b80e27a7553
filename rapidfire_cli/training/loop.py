"""The training loop: epochs, optimizer steps, batches, validation.

Theory of operation
-------------------
`train` is a generator. It advances the run it is given and yields a mark after each optimizer step, after
each batch of validation and after each epoch. Between two marks its caller, the executor, may save the run,
look whether it should stop, or leave the generator for good: everything the loop needs to go on is in the
`LiveRun`, so a new call of `train` continues where the old one was left, in this process or in another.

An epoch's order of rows is a function of the seed and the epoch alone; `run.done` says how many of its
steps are behind. A step takes up to `batch_size * grad_accumulation` rows, a batch at a time, and its loss
is the mean of its batches weighted by what each counts. Metrics are added up as batches pass.

Invariants:

- At STEP and EPOCH the run is whole: no gradient is half accumulated, and a checkpoint taken there
  continues bit for bit.
- At VALIDATION_BATCH it is whole only after `rewind`, which puts the checkpoint's state back to what it was
  before the validation. Validation must not change the result of training, even where user code draws
  random numbers or counts batches.
- The loop does not know about other runs, turns, files or the clock.

Why this way: one function shows the whole training from top to bottom. Callbacks would spread it over many
classes.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from enum import Enum, auto
from itertools import count
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rapidfire_cli.mlspec import Cfg, MLSpec
from rapidfire_cli.terms import LOSS, TRAIN, VALIDATION
from rapidfire_cli.training import state
from rapidfire_cli.training.batches import OUTSIDE_TRAINING, BatchSource, cut
from rapidfire_cli.training.epoch_metrics import EpochMetrics
from rapidfire_cli.training.epoch_rows import epoch_rows
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.live_run import LiveRun
from rapidfire_cli.training.optimizers import check_sparse, clip, members
from rapidfire_cli.training.returns import described


class Mark(Enum):
    """Where the loop pauses."""

    STEP = auto()  # an optimizer step is done; the run is whole
    VALIDATION_BATCH = (
        auto()
    )  # a validation batch was seen; after `rewind` the run is as before the first one
    EPOCH = auto()  # an epoch is over and `run.outcome` holds its metrics; the run is whole


class Model(Protocol):
    """What a forward pass needs of a run."""

    @property
    def spec(self) -> MLSpec: ...

    @property
    def cfg(self) -> Cfg: ...

    @property
    def forward(self) -> nn.Module: ...

    def autocast(self) -> AbstractContextManager[object]:
        """The precision in which the forward pass computes."""


def train(run: LiveRun) -> Iterator[Mark]:
    """Train from where the run stands to its goal; one may leave at any mark and start again later."""
    while run.epoch < run.train.epochs:
        if run.done == 0:  # in the middle of an epoch, modules are in the mode that user code left them in
            run.model.train()
        count, is_stream = len(run.batch_sources[TRAIN]), run.stream is not None
        rows_of_epoch = epoch_rows(run.train, run.assignment.seed, run.epoch + 1, count, is_stream)
        left = rows_of_epoch[run.done * run.train.step_size :]
        batches = _batches(run, left)
        for rows in cut(left, run.train.step_size):
            if isinstance(run.optimizer, torch.optim.LBFGS):
                reevaluated_step(run, rows)
            elif gradient(run, len(rows), batches):
                for optimizer in members(run.optimizer):
                    check_sparse(optimizer, run.model)
                    run.scaler.step(optimizer)
                run.scaler.update()
            if run.schedule:
                run.schedule.after_step()
            run.done += 1
            run.step += 1
            yield Mark.STEP
        if VALIDATION in run.batch_sources:
            yield from validate(run)
        run.end_epoch()
        yield Mark.EPOCH


def _batches(run: LiveRun, rows: Tensor) -> Iterator[Any]:
    """The batches of these rows, the first of which are those of the next optimizer step."""
    first = run.done * run.train.grad_accumulation
    return run.batch_sources[TRAIN].batches(rows, run.train.batch_size, run.epoch + 1, first)


def gradient(run: LiveRun, rows: int, batches: Iterator[Any], counted: bool = True) -> list[Tensor]:
    """Forward and backward over an optimizer step's rows, a batch at a time; each batch's share of the loss.

    The step's loss is Σ(loss · weight) / Σweight over its batches. Each loss is scaled by its weight over an
    estimate of the sum, which keeps fp16 in range; where the estimate was wrong, the gradients are divided by
    the rest. A batch of weight 0 is left out, since its loss may be NaN; a step of no other has no shares.
    """
    shares: list[Tensor] = []
    weighed, expected = 0.0, 0.0
    run.optimizer.zero_grad()
    for begin in range(0, rows, run.train.batch_size):
        size = min(run.train.batch_size, rows - begin)
        batch = next(batches)
        outputs = forward(run, batch)
        weight = run.epoch_metrics[TRAIN].weight(outputs, batch, size)
        loss = outputs[LOSS]
        if size < rows:
            weight = float(weight)
            expected = expected or rows * weight / size
            weighed += weight
            with torch.enable_grad():  # user code may have turned it off
                loss = loss * (weight / expected) if weight else loss
        if isinstance(weight, Tensor) or weight:
            check_gradient(outputs[LOSS], run.model)
            run.scaler.scale(loss).backward()
            shares.append(loss.detach())
        if counted:
            run.epoch_metrics[TRAIN].add(outputs, batch, weight, run.step + 1)
    if weighed != expected:
        divide(run, weighed / expected)
    if shares and run.train.max_grad_norm is not None:
        for optimizer in members(run.optimizer):
            run.scaler.unscale_(optimizer)
        clip(run.model.parameters(), run.train.max_grad_norm)
    return shares


def divide(run: LiveRun, weight: float) -> None:
    """Divide every gradient."""
    for parameter in run.model.parameters():
        if parameter.grad is not None:
            parameter.grad.div_(weight)


def reevaluated_step(run: LiveRun, rows: Tensor) -> None:
    """A step of LBFGS, which evaluates the loss several times; the first value is the step's loss."""
    counted = iter([True])

    def closure() -> Tensor:
        batches = _batches(run, rows)
        shares = gradient(run, len(rows), batches, next(counted, False))
        return sum(shares, torch.zeros((), device=run.device))

    (optimizer,) = members(run.optimizer)
    optimizer.step(closure)  # type: ignore[arg-type]


def validate(run: LiveRun, begin: int = 0) -> Iterator[Mark]:
    """Loss and metrics over the validation split, from the row `begin` on."""
    run.before = state.snapshot(run)
    run.model.eval()
    feed, size = run.batch_sources[VALIDATION], run.train.eval_batch_size
    for _ in score(run, feed, size, run.epoch_metrics[VALIDATION], run.step, begin):
        yield Mark.VALIDATION_BATCH


def score(
    model: Model, feed: BatchSource, size: int, metrics: EpochMetrics, step: int, begin: int = 0
) -> Iterator[None]:
    """Add the loss and the metrics of the rows from `begin` on; pauses after each batch of `size` rows."""
    for rows, batch, outputs in infer(model, feed, size, begin):
        check_loss(outputs)
        metrics.add(outputs, batch, metrics.weight(outputs, batch, rows), step)
        yield


def infer(
    model: Model, feed: BatchSource, size: int, begin: int = 0
) -> Iterator[tuple[int, Any, Mapping[str, Any]]]:
    """How many rows, the batch and its outputs, in the order of the rows and without gradients."""
    rows = torch.arange(begin, len(feed), device="cpu")
    batches = feed.batches(rows, size, OUTSIDE_TRAINING, begin // size)
    for at, batch in zip(count(begin, size), batches, strict=False):
        with torch.no_grad():
            outputs = outputs_of(model, batch)
        yield min(size, len(feed) - at), batch, outputs


def rewind(run: LiveRun) -> None:
    """Break off a validation: the run is whole as after its last step, in its checkpoint, not in memory."""
    assert run.before, "a validation is under way"
    run.epoch_metrics[VALIDATION].reset()
    state.rewind(run, run.before)


def forward(run: LiveRun, batch: Any) -> Mapping[str, Any]:
    """What compute_forward makes of a batch. Raises Failure when it holds no scalar `loss`."""
    outputs: Mapping[str, Any] = outputs_of(run, batch)
    check_loss(outputs)
    return outputs


def outputs_of(model: Model, batch: Any) -> Any:
    """What compute_forward makes of a batch, whatever that is."""
    with model.autocast():
        return model.spec.compute_forward(model.forward, batch, model.cfg)


def check_loss(outputs: Any) -> None:
    """Raises Failure unless the outputs are a mapping with a scalar `loss`."""
    loss = outputs.get(LOSS) if isinstance(outputs, Mapping) else None
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        cause = f"compute_forward must return a mapping with a scalar `loss`; it returned {_told(outputs)}"
        raise Failure("error", cause)


def check_gradient(loss: Tensor, model: nn.Module) -> None:
    """Raises Failure unless the loss can be differentiated."""
    if loss.requires_grad:
        return
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise Failure("error", "no parameter of the model requires a gradient, so there is nothing to train")
    why = "it does not depend on a trained parameter, was detached, or computed under no_grad"
    raise Failure("error", f"compute_forward returned a `loss` without a gradient: {why}")


def _told(outputs: Any) -> str:
    """What was returned instead of a mapping with a scalar loss."""
    if not isinstance(outputs, Mapping) or LOSS not in outputs:
        return described(outputs)
    hint = "; return its mean" if isinstance(outputs[LOSS], Tensor) and outputs[LOSS].numel() else ""
    return f"a `loss` that is {described(outputs[LOSS])}{hint}"
