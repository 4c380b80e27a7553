"""Ray Tune: a function trainable, a grid, trials side by side on the CPU."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

import ray
from ray import tune

from bench.peers.by_hand import objective
from bench.work import PROCESSES, Leaf, Outcome, Work, key

ADDRESS = "RAY_ADDRESS"


def contend(work: Work) -> Outcome:
    """As it comes: an actor, hence a process, for each trial."""
    return _tuned(work, reuse_actors=False)


def reusing(work: Work) -> Outcome:
    """With actors that go on to the next trial."""
    return _tuned(work, reuse_actors=True)


def _tuned(work: Work, reuse_actors: bool) -> Outcome:
    def trainable(flat: Leaf) -> None:
        import torch

        torch.set_num_threads(1)
        leaf = work.leaf(flat)
        tune.report({"key": key(leaf), "figures": objective(work)(leaf)})

    with TemporaryDirectory() as folder, started(folder):
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={path: tune.grid_search(values) for path, values in work.axes.items()},
            tune_config=tune.TuneConfig(max_concurrent_trials=PROCESSES, reuse_actors=reuse_actors),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        start = time.perf_counter()
        results = tuner.fit()
        seconds = time.perf_counter() - start
    return Outcome(seconds, {result.metrics["key"]: result.metrics["figures"] for result in results})


@contextmanager
def started(folder: str) -> Iterator[None]:
    """Ray on this machine, with its files in the folder, or the cluster that the environment names."""
    if address := os.environ.get(ADDRESS):
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    else:
        ray.init(
            num_cpus=PROCESSES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=folder,
        )
    yield
    ray.shutdown()
