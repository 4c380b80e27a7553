"""A run and what it measured, as trackers get them."""

from rapidfire_cli.view.trackers.tracker import Measured, TrackedRun

KNOBS = {
    "train.batch_size": 32,
    "train.optimizer.args.lr": 0.1,
    "user_knobs.deep": True,
    "user_knobs.warmup": None,
}


def run(number: int, parent: int | None = None) -> TrackedRun:
    return TrackedRun(number, f"{number:016x}", 1, 42, 0, parent, KNOBS)


def measured(number: int, epoch: int, loss: float) -> Measured:
    return Measured(run(number), 1.7e9 + epoch, epoch, epoch * 20, {"train/loss": loss, "val/loss": loss / 2})
