"""One rank of a gang as a process: trains the named cases, rank 0 also on one device; prints all epochs."""

import json
import sys
from pathlib import Path

import torch

from rapidfire_cli.engine.messages import Assignment, Rank, Train
from rapidfire_cli.facts import EpochEnded
from tests.training.gang_specs import CASES
from tests.training.normalising import on_cpu
from tests.training.sandbox import TrainingSandbox


def trained(place: Path, case: str, rank: Rank | None) -> list[dict[str, float]]:
    """The metrics of each epoch, by split and name."""
    spec, config, setup = CASES[case]
    place.mkdir(parents=True, exist_ok=True)
    sandbox = TrainingSandbox(place, f"tests.training.gang_specs:{spec}", **setup)
    assignment = Assignment(1, json.dumps(config), 42, str(place / "1"))
    for until in range(1, config["train"]["epochs"] * setup.get("chunks", 1) + 1):
        sandbox.executor.train(Train((assignment,), until, 0, rank))
    sandbox.executor.close()
    ended = [report for report in sandbox.told if isinstance(report, EpochEnded)]
    return [{f"{one.split} {one.name}": one.value for one in each.metrics} for each in ended]


def main() -> None:
    torch.set_num_threads(1)
    on_cpu()
    number, home, cases = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    found = {}
    for index, case in enumerate(cases):
        place = home / f"{index}"
        together = trained(place / "gang", case, Rank(number, 2, f"{index}"))
        found[case] = together, trained(place / "alone", case, None) if number == 0 else []
    print(json.dumps(found))


if __name__ == "__main__":
    main()
