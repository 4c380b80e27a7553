"""The facts of a small sweep, as a driver would tell them, and boards that know them."""

from collections.abc import Iterator

from rapidfire_cli.facts import (
    EpochEnded,
    Fact,
    Metric,
    RunChanged,
    RunFailed,
    Saved,
    TurnEnded,
    TurnStarted,
    WorkerStarted,
)
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.board import Board, board, fold
from tests.store.sweep import METADATA, row

CAUSE = "RuntimeError: mat1 and mat2 shapes cannot be multiplied (64x784 and 100x10)"


def accuracy(run: int, epoch: int) -> float:
    """Between 0.5 and 1, rising with the epochs, different for every run."""
    return 1 - (0.1 + run * 7 % 13 / 26) / epoch


def epoch_ended(run: int, epoch: int) -> EpochEnded:
    reached = accuracy(run, epoch)
    metrics = (
        Metric("train", "loss", 1.1 - reached),
        Metric("validation", "loss", 1.2 - reached),
        Metric("validation", "top1_accuracy", reached),
    )
    return EpochEnded(run, epoch, epoch * 20, metrics, seconds=2.0)


def sweep(runs: int, epochs: int = 5, workers: int = 2, failing: int | None = None) -> Iterator[Fact]:
    """Round robin in turns of one epoch; the run `failing` raises in its second."""
    for slot in range(workers):
        yield WorkerStarted(slot, 4711 + slot, "cpu")
    for epoch in range(1, epochs + 1):
        for run in range(1, runs + 1):
            if run != failing or epoch <= 2:
                yield from turn(
                    run, epoch, run % workers, last=epoch == epochs, fails=run == failing and epoch == 2
                )


def turn(run: int, epoch: int, slot: int, last: bool, fails: bool) -> Iterator[Fact]:
    if epoch == 1:
        yield RunChanged(run, RunState.RUNNING)
    yield TurnStarted(run, slot, epoch)
    if fails:
        yield RunFailed(run, "error", CAUSE, 25)
        yield RunChanged(run, RunState.FAILED, CAUSE)
        return
    yield epoch_ended(run, epoch)
    if last:
        yield Saved(run, epoch, epoch * 20)
    yield TurnEnded(run, slot, epoch, epoch * 20)
    if last:
        yield RunChanged(run, RunState.COMPLETED)


def blank(runs: int) -> Board:
    """A board before the first fact."""
    return board(
        METADATA, [row(number, state=RunState.QUEUED, epoch=0, step=0) for number in range(1, runs + 1)]
    )


def told(runs: int, facts: Iterator[Fact]) -> Board:
    """A board that knows the facts."""
    known = blank(runs)
    for fact in facts:
        fold(known, fact)
    return known
