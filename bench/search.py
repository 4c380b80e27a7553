"""Searching with results against drawing at random, on the digits task: `python -m bench.search`.

For each seed, a random search trains 64 runs, and TPE half as many; `rapidfire fit` does both, on two
workers. Beside them Optuna alone proposes as many from the same value sets, in one process, with the loss of
runs that are trained by hand to the same bits. What a tool has found is the lowest validation loss; a search
pays when the median of what TPE found is at most that of the random search. `--seeds 5` takes minutes.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import optuna
import torch

from bench.peers.by_hand import sliced, train
from bench.work import DIGITS, PROCESSES, nested

ROOT = Path(__file__).parents[1]
DRAWN, PROPOSED = 64, 32  # runs
EPOCHS = 3
FIXED = {
    "user_knobs.model": "mlp",
    "train.epochs": EPOCHS,
    "train.optimizer.name": "Adam",
    "named_metrics": ["top1_accuracy"],
}
LISTS: Mapping[str, list[int]] = {
    "train.batch_size": [16, 32, 64, 128],
    "user_knobs.hidden": [16, 32, 64, 128],
}
RANGES: Mapping[str, tuple[float, float, bool]] = {  # start, end, whether logarithmic
    "user_knobs.dropout": (0.0, 0.8, False),
    "train.optimizer.args.lr": (1e-5, 1.0, True),
    "train.optimizer.args.weight_decay": (1e-6, 1e-1, True),
}


def file(seed: int, group: str, arguments: Mapping[str, Any], epochs: int = EPOCHS) -> dict[str, Any]:
    """An experiment file with the value sets in one group."""
    lists = {path: {"!list": values} for path, values in LISTS.items()}
    ranges = {
        path: {"!range": {"start": start, "end": end, "log": log}}
        for path, (start, end, log) in RANGES.items()
    }
    knobs = nested({**FIXED, **lists, **ranges, "train.epochs": epochs})
    head = {"mlspec": DIGITS.mlspec, "data": {}, "seed": seed}
    return {**head, "objective": {"metric": "loss", "direction": "min"}, group: {**arguments, **knobs}}


def drawn(seed: int) -> float:
    """The lowest loss of a random search."""
    return fitted(file(seed, "randomsearch", {"num_runs": DRAWN}))


def proposed(seed: int) -> float:
    """The lowest loss of `search:` with half as many runs."""
    arguments = {"num_runs": PROPOSED, "metric": "loss", "direction": "min", "sampler": "tpe"}
    return fitted(file(seed, "search", arguments))


def alone(seed: int) -> float:
    """The lowest loss that Optuna finds without rapidfire."""
    torch.set_num_threads(1)
    optuna.logging.disable_default_handler()
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    for _ in range(PROPOSED):
        trial = study.ask()
        lists = {path: trial.suggest_categorical(path, values) for path, values in LISTS.items()}
        ranges = {
            path: trial.suggest_float(path, start, end, log=log) for path, (start, end, log) in RANGES.items()
        }
        study.tell(trial, train(nested({**FIXED, **lists, **ranges}), sliced, seed)[-2])
    return study.best_value


def fitted(said: Mapping[str, Any]) -> float:
    """The lowest last validation loss of the completed runs that `rapidfire fit` trains."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "file.json")
        path.write_text(json.dumps(said), encoding="utf-8")
        options = ["--dir", folder, "--workers", str(PROCESSES), "--threads", "1", "--gpus", "0"]
        command = [sys.executable, "-m", "rapidfire_cli", "fit", str(path), "--output", "json", *options]
        done = subprocess.run(
            command, check=True, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    ended = [run for run in json.loads(done.stdout)["runs"] if run["state"] == "completed"]
    return min(run["metrics"]["validation"]["loss"] for run in ended)


CONTENDERS: Mapping[str, Callable[[int], float]] = {
    f"rapidfire randomsearch, {DRAWN} runs": drawn,
    f"rapidfire search (tpe), {PROPOSED} runs": proposed,
    f"Optuna alone (TPE), {PROPOSED} runs": alone,
}


def main() -> None:
    """Print the median of what each found and took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds, from 0 on")
    seeds = range(parser.parse_args().seeds)
    found: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    took: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for seed in seeds:
        for name, contend in CONTENDERS.items():
            start = time.perf_counter()
            found[name].append(contend(seed))
            took[name].append(time.perf_counter() - start)
        print(f"seed {seed}: " + ", ".join(f"{each[-1]:.4f}" for each in found.values()), flush=True)
    random, tpe, _ = found.values()
    for name in CONTENDERS:
        best = f"median of the lowest losses {median(found[name]):.4f}"
        print(f"{name:36}  {best}, {median(took[name]):.1f} s")
    reached = sum(mine <= theirs for mine, theirs in zip(tpe, random, strict=True))
    verdict = "reaches" if median(tpe) <= median(random) else "does not reach"
    print(f"search {verdict} random search's median; {reached} of {len(seeds)} seeds are at least as good")


if __name__ == "__main__":
    main()
