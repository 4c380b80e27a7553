"""Population based training against drawing at random, on the digits task: `python -m bench.pbt`.

For each seed, all train as many run-epochs from the same value sets with `rapidfire fit` on two workers: a
population of 8 whose two worst runs are replaced after every second epoch, the same without rounds, and a
random search of 8 runs.
What each has found is the lowest validation loss after the last epoch. `--seeds 5` takes minutes.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median

from bench.search import file, fitted

RUNS, EPOCHS, EVERY = 8, 12, 2
CHANGED = ["train", "user_knobs.dropout"]  # knobs that a trained model can go on with


def forked(seed: int, mode: str = "sync") -> float:
    """The lowest loss of a population, in rounds or without (`async`)."""
    arguments = {
        "population": RUNS,
        "perturb_every": EVERY,
        "metric": "loss",
        "direction": "min",
        "perturb": CHANGED,
        "mode": mode,
    }
    return fitted(file(seed, "pbt", arguments, EPOCHS))


def drawn(seed: int) -> float:
    """The lowest loss of a random search."""
    return fitted(file(seed, "randomsearch", {"num_runs": RUNS}, EPOCHS))


CONTENDERS: Mapping[str, Callable[[int], float]] = {
    "rapidfire randomsearch": drawn,
    "rapidfire pbt": forked,
    "rapidfire pbt async": partial(forked, mode="async"),
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
    print(f"{RUNS * EPOCHS} run-epochs each")
    for name in CONTENDERS:
        print(f"{name:24}  median of the lowest losses {median(found[name]):.4f}, {median(took[name]):.1f} s")
    random, *populations = found.items()
    for name, losses in populations:
        better = sum(mine <= theirs for mine, theirs in zip(losses, random[1], strict=True))
        print(f"{name} is at least as good for {better} of {len(seeds)} seeds")


if __name__ == "__main__":
    main()
