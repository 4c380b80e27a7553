"""A process that logs epochs of a run to W&B, and waits to be killed: `wandb_child DIR EPOCHS`."""

import sys
import time
from pathlib import Path

from rapidfire_cli.view.trackers.tracker import Began, Measured, Place
from rapidfire_cli.view.trackers.wandb import WandB
from tests.store.sweep import METADATA
from tests.view.trackers.examples import measured, run


def curves(epochs: int) -> list[Measured]:
    return [measured(7, epoch, 1 / epoch) for epoch in range(1, epochs + 1)]


def main(directory: str, epochs: str) -> None:
    known = curves(int(epochs))
    tracker = WandB(Place(Path(directory), METADATA, {}, lambda number: known), "online", streams=True)
    tracker.log([Began(run(7), 1.7e9), *known])
    print("logged", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main(*sys.argv[1:])
