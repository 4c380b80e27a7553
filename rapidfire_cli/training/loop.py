"""The training loop: epochs, optimizer steps, batches, validation."""

from collections.abc import Iterator, Mapping
from enum import Enum, auto
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from rapidfire_cli.terms import LOSS, TRAIN, VALIDATION
from rapidfire_cli.training import rng
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.run import Run


class Mark(Enum):
    """Where the loop pauses."""

    STEP = auto()  # an optimizer step is done; the run is whole
    LOOK = auto()  # a validation batch was seen; the run is whole again after `rewind`
    EPOCH = auto()  # an epoch is over and `run.outcome` holds its metrics; the run is whole


def train(run: Run) -> Iterator[Mark]:
    """Train from where the run stands to its goal; one may leave at any mark and start again later."""
    while run.epoch < run.plan.epochs:
        run.model.train()
        order = rng.order(run.assignment.seed, run.epoch + 1, len(run.feeds[TRAIN]))
        for rows in run.steps(order)[run.done :]:
            if isinstance(run.optimizer, torch.optim.LBFGS):
                reevaluated_step(run, rows)
            else:
                gradient(run, rows)
                run.scaler.step(run.optimizer)
                run.scaler.update()
            if run.schedule:
                run.schedule.after_step()
            run.done += 1
            run.step += 1
            yield Mark.STEP
        if VALIDATION in run.feeds:
            yield from validate(run)
        run.end_epoch()
        yield Mark.EPOCH


def gradient(run: Run, rows: Tensor, counted: bool = True) -> list[Tensor]:
    """Forward and backward over an optimizer step's rows, a batch at a time; each batch's share of the loss.

    The step's loss is the mean over all its rows: a batch's mean weighs as many rows as the batch has.
    """
    shares = []
    run.optimizer.zero_grad()
    for batch_rows in run.batches(rows):
        batch = run.feeds[TRAIN].batch(batch_rows)
        outputs = forward(run, batch)
        loss = outputs[LOSS]
        if len(batch_rows) < len(rows):
            loss = loss * (len(batch_rows) / len(rows))
        run.scaler.scale(loss).backward()
        shares.append(loss.detach())
        if counted:
            run.tallies[TRAIN].add(outputs, batch, len(batch_rows), run.step + 1)
    if run.plan.max_grad_norm is not None:
        run.scaler.unscale_(run.optimizer)
        clip_grad_norm_(run.model.parameters(), run.plan.max_grad_norm)
    return shares


def reevaluated_step(run: Run, rows: Tensor) -> None:
    """A step of LBFGS, which evaluates the loss several times; the first value is the step's loss."""
    counted = iter([True])
    run.optimizer.step(lambda: sum(gradient(run, rows, next(counted, False))))  # type: ignore[arg-type]


def validate(run: Run) -> Iterator[Mark]:
    """Loss and metrics over the validation split."""
    run.streams = rng.capture()
    run.tallies[VALIDATION].reset()
    run.model.eval()
    feed = run.feeds[VALIDATION]
    for rows in torch.split(torch.arange(len(feed)), run.plan.eval_batch_size):
        batch = feed.batch(rows)
        with torch.no_grad():
            outputs = forward(run, batch)
        run.tallies[VALIDATION].add(outputs, batch, len(rows), run.step)
        yield Mark.LOOK


def rewind(run: Run) -> None:
    """Undo what of a validation is done, so that the run is whole as after its last step."""
    rng.restore(run.streams)


def forward(run: Run, batch: Any) -> Mapping[str, Any]:
    """What compute_forward makes of a batch. Raises Failure when it holds no scalar `loss`."""
    with run.autocast():
        outputs = run.spec.compute_forward(run.forward, batch, run.cfg)
    loss = outputs.get(LOSS) if isinstance(outputs, Mapping) else None
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        cause = f"compute_forward must return a mapping with a scalar `loss`, not {_told(outputs)}"
        raise Failure("error", cause)
    return outputs


def _told(outputs: Any) -> str:
    """What was returned instead of a mapping with a scalar loss."""
    if not isinstance(outputs, Mapping):
        return f"a {type(outputs).__name__}"
    if not isinstance(loss := outputs.get(LOSS), Tensor):
        return f"a mapping with {', '.join(f'`{key}`' for key in outputs) or 'nothing'}"
    return f"a `loss` of shape {tuple(loss.shape)}"
