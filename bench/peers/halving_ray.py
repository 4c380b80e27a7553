"""Ray Tune: its ASHAScheduler, the configurations as a grid of their indices, actors reused."""

from tempfile import TemporaryDirectory

from ray import tune
from ray.tune.schedulers import ASHAScheduler

from bench.halving import Found, Search
from bench.peers.by_hand import epochs, sliced
from bench.peers.ray_tune import started
from bench.work import PROCESSES


def contend(search: Search) -> Found:
    """Two trials at a time."""

    def trainable(config: dict[str, int]) -> None:
        import torch

        torch.set_num_threads(1)
        for figures in epochs(search.leaves[config["index"]], sliced):
            tune.report({"accuracy": figures[-1]})

    scheduler = ASHAScheduler(
        max_t=search.max_epochs,
        grace_period=search.min_epochs,
        reduction_factor=search.reduction_factor,
    )
    with TemporaryDirectory() as folder, started(folder):
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={"index": tune.grid_search([*range(len(search.leaves))])},
            tune_config=tune.TuneConfig(
                metric="accuracy",
                mode="max",
                scheduler=scheduler,
                max_concurrent_trials=PROCESSES,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        results = sorted(tuner.fit(), key=lambda result: result.config["index"])
    ended = [result.metrics for result in results]
    return Found([each["training_iteration"] for each in ended], [each["accuracy"] for each in ended])
