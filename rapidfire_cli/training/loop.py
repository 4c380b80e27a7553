"""The training loop: epochs, optimizer steps, batches, validation.

Theory of operation. `train` is a generator. It advances a run and yields a mark after each
optimizer step, each validation batch and each epoch. Between two marks its caller, the executor, may save the
run, check whether to stop, or abandon the generator: the `LiveRun` holds everything the loop needs, so a new
call of `train` continues where the last one was left, in this process or in another.

An epoch's order of rows is a function of the seed and the epoch only; `run.done` counts the finished steps of
the epoch. A step trains on up to `batch_size * grad_accumulation` rows, one batch at a time. Its loss is the
weighted mean over its batches. Metrics are accumulated batch by batch.

Invariants:

- At STEP and EPOCH the run is whole: no gradient is partly accumulated, and a run continues bit for bit from
  a checkpoint saved there.
- At VALIDATION_BATCH it is whole only after `rewind`, which makes the next checkpoint hold the state before
  the validation. Interrupting a validation must not change the result of training, even if user code draws
  random numbers or counts batches.
- The loop does not know about other runs, turns, files or the clock.

Why this way: one function shows the whole training from top to bottom. Callbacks would spread it over many
classes.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from enum import Enum, auto
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rapidfire_cli.terms import LOSS, TRAIN, VALIDATION
from rapidfire_cli.training import state
from rapidfire_cli.training.batches import OUTSIDE_TRAINING, BatchSource
from rapidfire_cli.training.epoch_metrics import EpochMetrics, Reading
from rapidfire_cli.training.epoch_rows import epoch_rows
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.gang import Gang
from rapidfire_cli.training.live_run import UNCHANGED, LiveRun
from rapidfire_cli.training.optimizers import check_sparse, clear_gradients, clip, members
from rapidfire_cli.training.returns import MAPPING, described
from rapidfire_cli.training.share import Share


class Mark(Enum):
    """Where the loop pauses."""

    STEP = auto()  # an optimizer step is finished; the run is whole
    VALIDATION_BATCH = auto()  # a validation batch is finished; `rewind` makes the run as before the first
    EPOCH = auto()  # an epoch is finished and `run.outcome` holds its metrics; the run is whole


class Model(Protocol):
    """The parts of a run that a forward pass needs."""

    @property
    def share(self) -> Share:
        """The part of each batch that this process computes."""
        ...

    def compute(self, batch: Any) -> Any:
        """Return what compute_forward returns for a batch."""
        ...

    def autocast(self) -> AbstractContextManager[object]:
        """Return the autocast context of the run's precision."""


def train(run: LiveRun) -> Iterator[Mark]:
    """Train the run from its position to its goal; the caller may stop at any mark and call again later."""
    while run.epoch < run.train.epochs:
        if run.done == 0:  # in the middle of an epoch, modules are in the mode that user code left them in
            run.model.train()
        count, is_stream = len(run.batch_sources[TRAIN]), run.stream is not None
        rows_of_epoch = epoch_rows(run.train, run.assignment.seed, run.epoch + 1, count, is_stream)
        size = run.train.step_size
        left = rows_of_epoch[run.done * size :]
        batches, rows = _batches(run, left), len(left)
        for begin in range(0, rows, size):
            if isinstance(run.optimizer, torch.optim.LBFGS):
                reevaluated_step(run, left[begin : begin + size])
            elif gradient(run, min(size, rows - begin), batches):
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
    """Return the training batches of these rows, which begin with the next optimizer step."""
    first = run.done * run.train.grad_accumulation
    return shared(run.batch_sources[TRAIN], run.share, rows, run.train.batch_size, run.epoch + 1, first)


def shared(feed: BatchSource, share: Share, rows: Tensor, size: int, epoch: int, first: int) -> Iterator[Any]:
    """Return this rank's share of the batches of `size` rows; a batch of which it has no row is left out."""
    return feed.batches(share.rows(rows, size), share.prepared(size), epoch, share.numbered(first))


def gradient(run: LiveRun, rows: int, batches: Iterator[Any], counted: bool = True) -> list[Tensor]:
    """Accumulate the gradient of an optimizer step, batch by batch; return each batch's share of the loss.

    The step's loss is Σ(loss · weight) / Σweight over its batches. Each loss is scaled by its weight over an
    estimate of the sum, which keeps fp16 in range. If the estimate was wrong, the gradients are rescaled
    afterwards. A batch of weight 0 is skipped, since its loss may be NaN. A step that has only such batches
    returns no shares. In a gang, each rank does this with its share of each batch; then gradients are summed.
    """
    shares: list[Tensor] = []
    readings: list[Reading | None] = []
    weighed, expected = 0.0, 0.0
    metrics, share, most = run.epoch_metrics[TRAIN], run.share, run.train.batch_size
    clear_gradients(run.optimizer)
    for begin in range(0, rows, most):
        here = min(most, rows - begin)
        size = share.of(here)
        if not (size or share.fills):
            readings.append(None)
            continue
        batch = next(batches)
        outputs = forward(run, batch)
        weight = metrics.weight(outputs, batch, size) if size else 0.0
        loss = outputs[LOSS]
        if size < rows or run.gang:
            weight = float(weight)
            if run.is_coupled:
                expected = rows / share.size
                check_counts(run, weight)
            expected = expected or rows * weight / size
            weighed += weight
            with torch.enable_grad():  # user code may have turned it off
                loss = loss * (weight / expected) if weight else loss
        if isinstance(weight, Tensor) or weight or run.sharded:
            check_gradient(outputs[LOSS], run.model)
            with UNCHANGED if weight or not run.sharded else run.sharded.idly():
                run.scaler.scale(loss).backward()
            shares.append(loss.detach())
        if run.gang:
            readings.append(metrics.read(outputs, batch, weight).on_cpu() if size else None)
        elif counted:
            metrics.add(metrics.read(outputs, batch, weight), run.step + 1)
    if run.gang:
        shares = summed(run, run.gang, expected, readings, counted)
    elif weighed != expected:
        divide(run, weighed / expected)
    if shares and run.train.max_grad_norm is not None:
        for optimizer in members(run.optimizer):
            run.scaler.unscale_(optimizer)
        if run.sharded:
            run.sharded.clip(run.train.max_grad_norm)
        else:
            clip(run.model.parameters(), run.train.max_grad_norm)
    return shares


def summed(
    run: LiveRun, gang: Gang, scale: float, readings: list[Reading | None], counted: bool
) -> list[Tensor]:
    """Sum the gradients of all ranks, and count what each read; return the shares of the step's loss.

    This rank's gradients are those of Σ(loss · weight) over its batches, divided by `scale`. Raises Failure.
    """
    named = [(name, each) for name, each in run.model.named_parameters() if each.requires_grad]
    trained = bytes(parameter.grad is not None for _, parameter in named)
    everybody = gang.exchange((readings, trained))
    by_batch = zip(*(theirs for theirs, _ in everybody), strict=True)
    read = [reading for batch in by_batch for reading in batch if reading]
    for reading in read if counted else ():
        run.epoch_metrics[TRAIN].add(reading, run.step + 1)
    if not (total := sum(float(reading.weight) for reading in read)):
        return []
    anywhere = map(any, zip(*(theirs for _, theirs in everybody), strict=True))
    learnt = [(name, each) for (name, each), has in zip(named, anywhere, strict=True) if has]
    if run.sharded:
        run.sharded.settle(scale * run.sharded.size / total, [each for _, each in learnt])
    else:
        gang.total(_scaled(name, each, scale / total) for name, each in learnt)
    return [(reading.loss * (float(reading.weight) / total)).to(run.device) for reading in read]


def _scaled(name: str, parameter: nn.Parameter, factor: float) -> Tensor:
    """Return the parameter's gradient times the factor; zeros if it has none on this rank. Raises Failure."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    if parameter.grad.is_sparse:
        hint = "make it with `sparse=False`"
        raise Failure(
            "error", f"the gradient of `{name}` is sparse, which a run on several devices cannot sum; {hint}"
        )
    return parameter.grad.mul_(factor)


def check_counts(run: LiveRun, weight: float) -> None:
    """Check that this rank's rows count, if all ranks normalise over them. Raises Failure."""
    if not weight and run.train.batch_norm == "sync":
        cause = "a device has only rows without weight of a batch, which `batch_norm: sync` cannot leave out"
        raise Failure("error", f"{cause}; use `local`", knob=("train", "batch_norm"))


def divide(run: LiveRun, weight: float) -> None:
    """Divide every gradient by the weight."""
    for parameter in run.model.parameters():
        if parameter.grad is not None:
            parameter.grad.div_(weight)


def reevaluated_step(run: LiveRun, rows: Tensor) -> None:
    """Do a step of LBFGS, which evaluates the loss several times; the first value is the step's loss."""
    counted = iter([True])

    def closure() -> Tensor:
        batches = _batches(run, rows)
        shares = gradient(run, len(rows), batches, next(counted, False))
        return sum(shares, torch.zeros((), device=run.device))

    (optimizer,) = members(run.optimizer)
    optimizer.step(closure)  # type: ignore[arg-type]


def validate(run: LiveRun, begin: int = 0) -> Iterator[Mark]:
    """Compute the loss and the metrics over the validation split, from row `begin` on."""
    clear_gradients(run.optimizer)  # a run that continues here has no gradients either
    run.before = None if run.is_brief else state.snapshot(run)
    run.model.eval()
    if run.gang:
        run.gang.spread(each for _, each in state.tensor_buffers(run.model))
    feed, size = run.batch_sources[VALIDATION], run.train.eval_batch_size
    for _ in score(run, feed, size, run.epoch_metrics[VALIDATION], run.step, begin, run.gang):
        yield Mark.VALIDATION_BATCH


def score(
    model: Model,
    feed: BatchSource,
    size: int,
    metrics: EpochMetrics,
    step: int,
    begin: int = 0,
    gang: Gang | None = None,
) -> Iterator[None]:
    """Add the rows from `begin` on to the loss and the metrics; yield after each batch of `size` rows."""
    for rows, batch, outputs in infer(model, feed, size, begin):
        reading = None
        if rows:
            check_loss(outputs)
            reading = metrics.read(outputs, batch, metrics.weight(outputs, batch, rows))
        for each in gang.exchange(reading and reading.on_cpu()) if gang else (reading,):
            if each:
                metrics.add(each, step)
        yield


def infer(model: Model, feed: BatchSource, size: int, begin: int = 0) -> Iterator[tuple[int, Any, Any]]:
    """Yield the number of rows, the batch and its outputs for each batch in order, without gradients.

    Of a batch in which this rank has no share, there are 0 rows.
    """
    share = model.share
    order = torch.arange(begin, len(feed), device="cpu")
    batches = shared(feed, share, order, size, OUTSIDE_TRAINING, begin // size)
    for at in range(begin, len(feed), size):
        rows = share.of(min(size, len(feed) - at))
        taken = rows or share.fills
        batch = next(batches) if taken else None
        with torch.no_grad():
            outputs = outputs_of(model, batch) if taken else None
        yield rows, batch, outputs


def may_stop(run: LiveRun, mark: Mark) -> bool:
    """Whether the run can be left at this mark.

    A validation that writes to trained parameters, or that will be over at once, is not interrupted.
    """
    return mark is not Mark.VALIDATION_BATCH or (
        run.before is not None and state.is_rewindable(run, run.before)
    )


def rewind(run: LiveRun) -> None:
    """Interrupt a validation: the next checkpoint holds the run as after its last step; memory does not."""
    assert run.before, "a validation is under way"
    run.epoch_metrics[VALIDATION].reset()
    state.rewind(run, run.before)


def forward(run: LiveRun, batch: Any) -> Mapping[str, Any]:
    """Return the outputs of compute_forward for a batch. Raises Failure if they have no scalar `loss`."""
    outputs: Mapping[str, Any] = outputs_of(run, batch)
    check_loss(outputs)
    return outputs


def outputs_of(model: Model, batch: Any) -> Any:
    """Return what compute_forward returns for a batch, unchecked."""
    with model.autocast():
        return model.compute(batch)


def check_loss(outputs: Any) -> None:
    """Check that the outputs are a mapping with a scalar `loss`. Raises Failure."""
    loss = outputs.get(LOSS) if isinstance(outputs, MAPPING) else None
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        cause = f"compute_forward must return a mapping with a scalar `loss`; it returned {_told(outputs)}"
        raise Failure("error", cause)


def check_gradient(loss: Tensor, model: nn.Module) -> None:
    """Check that the loss can be differentiated. Raises Failure."""
    if loss.requires_grad:
        return
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise Failure("error", "no parameter of the model requires a gradient, so there is nothing to train")
    why = "it does not depend on a trained parameter, was detached, or computed under no_grad"
    raise Failure("error", f"compute_forward returned a `loss` without a gradient: {why}")


def _told(outputs: Any) -> str:
    """Describe what was returned instead of a mapping with a scalar loss."""
    if not isinstance(outputs, Mapping) or LOSS not in outputs:
        return described(outputs)
    hint = "; return its mean" if isinstance(outputs[LOSS], Tensor) and outputs[LOSS].numel() else ""
    return f"a `loss` that is {described(outputs[LOSS])}{hint}"
