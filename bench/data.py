"""How fast rows come, beside the work that they are and beside torch's DataLoader: `python -m bench.data`.

1,000 JPEG files of 256x256 pixels. First eight runs of one epoch, whose rows are resized pictures: the
seconds that they take, by where the rows are kept, over those of a plain loop that prepares every row once,
and over those of one that then trains the eight runs and saves their weights as well. The loop does not wait
until the disk has them, as checkpoints do; the time of these waits is shown, and so is the ratio of CPU time.
Then random crops for a stand-in of a GPU, a step that sleeps 10 ms: the seconds over those that cannot be
saved, max(steps, preparing / processes), where the same steps are taken by a plain loop on a batch that is
there. What the kernel adds by waking a step too late, since its processor is busy, is shown by itself.
Machines are noisy: the rounds of all are interleaved, the medians compared; read the ratios.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.images import cropped, late, resized, step
from rapidfire_cli.durable import disk
from rapidfire_cli.engine.messages import Assignment, Setup, Train
from rapidfire_cli.facts import RunFailed
from rapidfire_cli.training.executor import Executor

PICTURES = 1000
RUNS = 8
BATCH = 20
EPOCHS = 4
PROCESSES = (1, 2)
ROOM = 2**30
SYNC = disk.sync
WAITS = [0.0]  # the seconds of all syncs, added up


class Crops(Dataset[Any]):
    """The rows of the second part, for torch's DataLoader."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return {"x": cropped(self.paths[index])}


class Place:
    """An executor in this process."""

    def __init__(self, home: Path, spec: str, pictures: Path, **settings: Any) -> None:
        self._home = home
        self._number = 0
        misc = home / "misc"
        misc.mkdir(parents=True)
        setup = Setup(
            *(f"bench.images:{spec}", json.dumps({"path": f"{pictures}"}), f"{misc}", "cpu"),
            threads=1,
            chunks=1,
            checkpoint_every=1e9,
            rows=f"{home / 'rows'}",
            **settings,
        )
        self.executor = Executor(setup, self._tell, lambda: False, lambda step: None)
        self.executor.start()

    def train(self, epochs: int, runs: int = 1) -> None:
        """Train other runs to their ends."""
        optimizer = {"name": "SGD", "args": {"lr": 1e-6}}
        leaf = {"train": {"epochs": epochs, "batch_size": BATCH, "optimizer": optimizer}}
        for _ in range(runs):
            self._number += 1
            home = self._home / "runs" / f"{self._number}"
            self.executor.train(Train((Assignment(self._number, json.dumps(leaf), 42, f"{home}"),), epochs))

    def _tell(self, report: Any) -> None:
        if isinstance(report, RunFailed):
            raise SystemExit(report.cause)


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def draw(directory: Path, count: int) -> list[Path]:
    """Pictures with some structure and some noise."""
    directory.mkdir()
    drawing = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(drawing.integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize((256, 256))
        noisy = np.asarray(coarse, np.int16) + drawing.integers(-16, 16, (256, 256, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(directory / f"{number:05}.jpg")
    return sorted(directory.iterdir())


@dataclass(frozen=True, slots=True)
class Took:
    """What some work took, in seconds."""

    wall: float
    cpu: float  # of this process
    disk: float  # waiting until the disk had files


def took(work: Callable[[], object]) -> Took:
    """Do the work and return what it took."""
    waits = WAITS[0]
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - began, time.process_time() - cpu, WAITS[0] - waits)


def sync(*paths: Path) -> None:
    """Sync as a checkpoint does, and measure it."""
    began = time.perf_counter()
    SYNC(*paths)
    WAITS[0] += time.perf_counter() - began


def steps_by_hand(batches: Iterable[Tensor], wait: Callable[[], None] | None = None) -> torch.nn.Module:
    """Train a model on the batches as the MLSpecs do, in a plain loop."""
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), 1e-6)
    for batch in batches:
        optimizer.zero_grad()
        if wait:
            wait()
        model(batch[:, 0, 0].float()).mean().backward()
        optimizer.step()
    return model


def runs_by_hand(home: Path, paths: list[Path]) -> None:
    """Prepare every row once, train eight runs of one epoch on them in a loop, and save their weights."""
    rows = torch.stack([resized(path) for path in paths])
    for run in range(RUNS):
        model = steps_by_hand(rows[batch] for batch in torch.randperm(len(rows)).split(BATCH))
        torch.save(model.state_dict(), home / f"by-hand-{run}.pt")


def kept(home: Path, paths: list[Path], rounds: int) -> None:
    """Eight runs whose rows are the same."""
    alone: list[float] = []
    each: dict[str, list[tuple[float, ...]]] = {}
    places = {"in memory": {"data_cache": ROOM}, "on disk": {"disk_cache": ROOM}, "not at all": {}}
    for turn in range(rounds):
        once = seconds(lambda: [resized(path) for path in paths])
        by_hand = took(lambda: runs_by_hand(home, paths))
        alone.append(once)
        for name, settings in places.items():
            options = {"data_cache": 0, **settings}
            place = Place(home / f"{name} {turn}", "Resized", paths[0].parent, **options)
            whole = took(partial(place.train, 1, RUNS))
            ratios = whole.wall / once, whole.wall / by_hand.wall, whole.cpu / by_hand.cpu
            each.setdefault(name, []).append((*ratios, whole.disk / by_hand.wall))
    print(f"{len(paths)} pictures prepared once: {median(alone):.2f} s")
    for name, found in each.items():
        to_once, to_loop, cpu, disk = (median(column) for column in zip(*found, strict=True))
        print(f"{RUNS} runs of one epoch, rows kept {name}: {to_once:.2f} x")
        print(
            f"  {to_loop:.2f} x of the loop that trains as well, {cpu:.2f} x its CPU time, disk {disk:.2f} x"
        )


def ahead(home: Path, paths: list[Path], rounds: int, processes: int) -> None:
    """Random crops, prepared by `processes` while a step sleeps."""
    count = EPOCHS * -(-len(paths) // BATCH)
    ready = torch.stack([cropped(path) for path in paths[:BATCH]])
    home /= f"{processes}"
    place = Place(home / "ahead", "Cropped", paths[0].parent, data_cache=0, data_workers=processes)
    loader = DataLoader(*(Crops(paths), BATCH), shuffle=True, num_workers=processes, persistent_workers=True)

    def load(epochs: int) -> None:
        steps_by_hand((batch["x"] for _ in range(epochs) for batch in loader), step)

    load(1)  # starts the processes
    place.train(1)
    found: dict[str, list[tuple[float, float]]] = {}
    steps, least = [], []
    for _ in range(rounds):
        work = EPOCHS * seconds(lambda: [cropped(path) for path in paths])
        steps.append(seconds(lambda: steps_by_hand(repeat(ready, count), step)))
        least.append(max(steps[-1], work / processes))
        for name, train in ((f"data workers, {processes}", place.train), ("torch's DataLoader", load)):
            late[0] = 0.0
            wall = seconds(partial(train, EPOCHS))
            found.setdefault(name, []).append((wall / least[-1], late[0] / least[-1]))
    place.executor.close()
    print(f"random crops, {EPOCHS} epochs: steps {median(steps):.2f} s, at least {median(least):.2f} s")
    for name, ratios in found.items():
        wall, woken = (median(column) for column in zip(*ratios, strict=True))
        rounded = ", ".join(f"{each:.2f}" for each, _ in ratios)
        print(f"{name}: {wall:.2f} x ({rounded}), of which steps that were woken up late {woken:.2f}")


def main() -> None:
    """Measure both parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    disk.sync = sync
    with TemporaryDirectory() as directory:
        home = Path(directory)
        paths = draw(home / "pictures", chosen.pictures)
        Place(home / "warm", "Resized", paths[0].parent, data_cache=ROOM).train(1)  # imports what is lazy
        kept(home, paths, chosen.rounds)
        for processes in PROCESSES:
            ahead(home, paths, chosen.rounds, processes)


if __name__ == "__main__":
    main()
