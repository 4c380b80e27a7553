"""What checkpoints cost of training: `python -m bench.checkpoint`.

Two kinds of work, each trained by a worker's own code in this process, and the seconds inside of publishing
checkpoints held against the seconds of everything else of the same turns: the digits sweep as it is (one
checkpoint when a run is complete), and a model of 10 million parameters with Adam's state (116 MB per
checkpoint) that is saved as often as `checkpoint_every` says by default, every 30 seconds of training.
Both shares come from one run, so the machine's mood is in both.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.work import DIGITS, Leaf
from rapidfire_cli.engine.messages import Assignment, Setup, Train
from rapidfire_cli.terms import Execution
from rapidfire_cli.training import checkpoint
from rapidfire_cli.training.executor import Executor

LIMIT = 0.03  # of training time
LARGE: Leaf = {
    "train": {"epochs": 1, "batch_size": 256, "optimizer": {"name": "Adam", "args": {"lr": 1e-4}}},
    "user_knobs": {"width": 2200, "steps": 120},
}


@dataclass(slots=True)
class Watch:
    """Seconds spent in the calls it wraps, and how many there were."""

    seconds: float = 0.0
    calls: int = 0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                self.seconds += time.perf_counter() - began
                self.calls += 1

        return timed


@contextmanager
def watched() -> Iterator[Watch]:
    """Time what publishes checkpoints and final weights."""
    watch, save, finish = Watch(), checkpoint.save, checkpoint.finish
    checkpoint.save, checkpoint.finish = watch.around(save), watch.around(finish)  # type: ignore[assignment]
    try:
        yield watch
    finally:
        checkpoint.save, checkpoint.finish = save, finish


def trained(mlspec: str, leaves: list[Leaf], place: Path) -> tuple[float, Watch]:
    """Train each run to its end in one turn; the seconds of it all, and those of its checkpoints."""
    torch.set_num_threads(1)
    every = Execution().checkpoint_every
    setup = Setup(mlspec, "null", str(place / "misc"), "cpu", 1, 1, every, 2**30)
    with watched() as watch:
        executor = Executor(setup, lambda report: None, lambda: False, lambda step: None)
        began = time.perf_counter()
        for number, leaf in enumerate(leaves, 1):
            assignment = Assignment(number, json.dumps(leaf), 42, str(place / "runs" / f"{number}"))
            executor.train(Train((assignment,), leaf["train"]["epochs"]))
        return time.perf_counter() - began, watch


def measure(name: str, mlspec: str, leaves: list[Leaf]) -> bool:
    """Print the share of the time that checkpoints took; whether it is within the limit."""
    place = Path(tempfile.mkdtemp(prefix="rapidfire-bench-"))
    try:
        seconds, watch = trained(mlspec, leaves, place)
        written = sum(file.stat().st_size for file in place.glob("runs/*/step-*/*"))
    finally:
        shutil.rmtree(place)
    training = seconds - watch.seconds
    share = watch.seconds / training
    each, kept = 1000 * watch.seconds / watch.calls, written / 1e6
    print(f"{name:34} {training:6.1f} s of training, {watch.calls} calls of {each:.1f} ms, {kept:.1f} MB")
    print(f"{'':34} {share:6.2%} of training time, {'within' if share < LIMIT else 'BEYOND'} {LIMIT:.0%}")
    return share < LIMIT


def main() -> None:
    """Measure both; exit with 1 when one costs more than it may."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    digits = [DIGITS.leaf(varied) for varied in DIGITS.combinations]
    good = [
        measure(f"{len(digits)} runs of the digits MLP", DIGITS.mlspec, digits),
        measure("10 million parameters with Adam", "bench.large:LargeSpec", [LARGE]),
    ]
    raise SystemExit(not all(good))


if __name__ == "__main__":
    main()
