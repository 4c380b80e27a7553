"""One of three ranks as a process: trains sharded runs, some of which are stopped or change their devices."""

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import xxhash

from rapidfire_cli.engine.messages import Assignment, Rank, Train
from tests.training.gang_rank import trained
from tests.training.gang_specs import BLOCK, case, sharded
from tests.training.normalising import on_cpu
from tests.training.sandbox import TrainingSandbox

WHOLE = case("Layered", batch_size=6, max_grad_norm=0.5, epochs=2)
STEPPING = sharded(WHOLE, BLOCK)
STOPPED = {"sharded": STEPPING[1], "whole": WHOLE[1]}
MARKS = 2 * (8 + 4 + 1)  # at which it can stop: steps, validation batches and ends of epochs
SIZES = {"smaller": (2, 1), "larger": (2, 3), "from one device": (1, 2), "not sharded": (2, 3)}


def stopped(home: Path, rank: int, stops: int, config: Any) -> list[str]:
    """Train runs that stop at this many random marks; hashes of weights, first of a whole one."""
    draw = random.Random(1)
    hashes, made = [_weights(_trained(home / "whole", Rank(rank, 2, home.name), config))], 0
    while made < stops:
        place, ends = home / f"{made}", []
        while sum(ends) < MARKS - 1 and made < stops:
            ends.append(draw.randrange(1, MARKS))
            made += 1
        hashes.append(_weights(_trained(place, Rank(rank, 2, f"{home.name} {made}"), config, ends)))
    return hashes


def _trained(place: Path, rank: Rank, config: Any, ends: Sequence[int] = ()) -> TrainingSandbox:
    sandbox = _sandbox(place)
    order = Train((_assignment(place, config),), 2, 0, rank)
    for end in ends:
        sandbox.stop_at = sandbox.pulses + end
        sandbox.executor.train(order)
    sandbox.stop_at = None
    sandbox.executor.train(order)
    return sandbox


def resized(home: Path, rank: int) -> dict[str, tuple[Any, str]]:
    """The epochs of runs that change their number of devices after the first one, and what the log says."""
    found = {}
    for name, sizes in SIZES.items():
        place = home / name.replace(" ", "-")
        sandbox = _sandbox(place)
        for epoch, size in enumerate(sizes, 1):
            if rank < size:
                config = STOPPED["whole" if name == "not sharded" else "sharded"]
                member = Rank(rank, size, f"{name} {epoch}") if size > 1 else None
                order = Train((_assignment(place, config),), epoch, 0, member)
                sandbox.executor.train(order)
                if size == 1:
                    sandbox.evict()  # a gang saves its run when its turn ends
        if rank == 0:
            epochs = [
                {f"{split} {metric}": value for (split, metric), value in each.items()}
                for each in sandbox.epochs().values()
            ]
            found[name] = epochs, sandbox.log()
    return found


def _sandbox(place: Path) -> TrainingSandbox:
    place.mkdir(parents=True, exist_ok=True)
    spec, _, setup = STEPPING
    return TrainingSandbox(place, f"tests.training.gang_specs:{spec}", **{**setup, "checkpoint_every": 30})


def _assignment(place: Path, config: Any = STEPPING[1]) -> Assignment:
    return Assignment(1, json.dumps(config), 42, str(place / "1"))


def _weights(sandbox: TrainingSandbox) -> str:
    path = sandbox.directory / "1/final.safetensors"
    return xxhash.xxh3_64_hexdigest(path.read_bytes()) if path.exists() else "unfinished"


def main() -> None:
    torch.set_num_threads(1)
    on_cpu()
    rank, home, stops, names = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    found: dict[str, Any] = {"cases": {}, "stopped": {}}
    if rank < 2:
        for index, name in enumerate(names):
            place = home / f"{index}"
            together = trained(place / "gang", name, Rank(rank, 2, f"{index}"))
            found["cases"][name] = together, trained(place / "alone", name, None) if rank == 0 else []
        for name, config in STOPPED.items():
            found["stopped"][name] = stopped(home / name.replace(" ", "-"), rank, stops, config)
    found["resized"] = resized(home / "resized", rank)
    if rank == 0:
        sandbox = _sandbox(home / "one")
        sandbox.executor.train(Train((_assignment(home / "one"),), 2, 0, None))
        found["one"] = [
            {f"{split} {metric}": value for (split, metric), value in each.items()}
            for each in sandbox.epochs().values()
        ]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
