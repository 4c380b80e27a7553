"""`train.gpus: 2` trains one run on two devices at once, here on two CPU workers that talk over gloo."""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from rapidfire_cli.training import rng
from rapidfire_cli.training.share import Share
from tests.scenarios.conftest import Cli
from tests.scenarios.gang_specs import ROWS, VALIDATION
from tests.shares import share

FILE = """\
experiment: tiny
mlspec: tests.scenarios.gang_specs:{spec}
execution: {{checkpoint_every: {every}, hang_timeout: 1, workers: 2}}
gridsearch:
  train:
    epochs: {epochs}
    batch_size: 6
    gpus: {gpus}
    optimizer: {{name: Adam, args: {{lr: 0.02}}}}
    {more}
  fsdp_layer_cls: {layers}
  user_knobs: {{dropout: {dropout}, strike: !list {strikes}}}
  named_metrics: [top1_accuracy, auroc]
"""
SEED, BATCH, STEPS = 42, 6, 5  # with a last batch of one row
EPOCHS, VALIDATIONS = 2, 3  # and batches of validation, the last one of one row


def file(strikes=("nothing",), **values) -> str:
    usual = {
        "spec": "Shared",
        "gpus": 2,
        "dropout": 0.5,
        "epochs": EPOCHS,
        "every": 0,
        "more": "drop_last: false",
        "layers": "[]",
    }
    return FILE.format(strikes=json.dumps(strikes), **{**usual, **values})


def fit(place: Path, text: str, *options: str, exits: int = 0) -> tuple[Cli, str]:
    """The directory after a fit of the file, and what it said."""
    cli = Cli(place)
    cli.write(text)
    return cli, cli.run("fit", "experiment.yaml", *options, exits=exits).stderr


def row_of(step: int, rank: int, epoch: int = 1) -> int:
    """A row that this rank trains in this step (0, 1, …) of the epoch."""
    batch = rng.order(SEED, epoch, ROWS)[step * BATCH : (step + 1) * BATCH]
    return int(Share(rank, 2).rows(batch, BATCH)[0])


def kills() -> Iterator[str]:
    """What kills either rank after every mark of a run but the last: in the batch that follows it."""
    for epoch in range(1, EPOCHS + 1):
        for step, rank in PLACES:
            yield f"kill {row_of(step, rank, epoch)}{' again' if epoch > 1 else ''}"
        for batch, rank in product(range(VALIDATIONS), (0, 1)):
            row = batch * BATCH + rank * BATCH // 2
            if row < VALIDATION:
                yield f"kill {row} validated{' again' if epoch > 1 else ''}"


def losses(run) -> list[float]:
    return [value for split in run["metrics"].values() for value in split.values()]


STRIKES = {
    "rank 0 is killed": f"kill {row_of(1, rank=0)}",
    "rank 1 is killed": f"kill {row_of(2, rank=1)}",
    "rank 1 is frozen": f"freeze {row_of(3, rank=1)}",
    "rank 1 runs out of memory": f"starve {row_of(0, rank=1)}",
    "rank 1 raises": f"raise {row_of(3, rank=1)}",
}

TRIED = share(STRIKES, 2)


@pytest.fixture(scope="module")
def struck(tmp_path_factory) -> tuple[dict[str, dict], dict[str, bytes], str]:
    """Runs by what struck them, their weights, and what was said; the last of them fails."""
    cli, said = fit(tmp_path_factory.mktemp("struck"), file(["nothing", *map(STRIKES.get, TRIED)]), exits=1)
    weights = cli.weights()
    runs = {run["config"]["user_knobs"]["strike"]: run for run in cli.status()["runs"]}
    return runs, {strike: weights.get(run["id"], b"") for strike, run in runs.items()}, said


@pytest.mark.parametrize("what", [what for what in TRIED if what != "rank 1 raises"])
def test_a_run_that_loses_its_gang_ends_with_the_bits_of_an_undisturbed_one(struck, what):
    runs, weights, _ = struck
    assert runs[STRIKES[what]]["state"] == "completed"
    assert weights[STRIKES[what]] == weights["nothing"]
    assert runs[STRIKES[what]]["metrics"] == runs["nothing"]["metrics"]


def test_a_frozen_rank_is_found_as_a_hang_and_a_lost_one_is_never_blamed_on_the_users_code(struck):
    _, _, said = struck
    assert "died: hung: no step in 1 seconds" in said
    assert said.count("died: killed by SIGKILL") == len([what for what in TRIED if "killed" in what])
    assert said.count("  failed: ") == 1


def test_an_error_on_any_rank_fails_the_run_with_its_place(struck):
    runs, _, said = struck
    run = runs[STRIKES["rank 1 raises"]]
    assert run["state"] == "failed"
    assert run["error"].startswith("ValueError: a bad row (")
    assert f"died: replaced: run {run['number']} failed" in said


def test_runs_on_one_device_and_on_two_mix_and_their_losses_and_metrics_are_equal(tmp_path):
    cli, _ = fit(tmp_path, file(gpus="!list [1, 2]", dropout=0.0, epochs=3, every=30))
    one, two = cli.status()["runs"]
    assert (one["state"], two["state"]) == ("completed", "completed")
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    assert two["metrics"]["train"].keys() == {"loss", "top1_accuracy", "auroc", "size"}
    assert not (tmp_path / "rapidfire_experiments/tiny/gangs").exists()


def test_batch_norm_is_refused_unless_each_device_may_normalise_its_own_rows(tmp_path):
    drop = "drop_last: true"
    cli, said = fit(tmp_path, file(spec="Normed", epochs=1, more=drop), exits=1)
    assert "`1` normalises over a batch" in said and "`train.batch_norm: local`" in said
    cli, _ = fit(tmp_path, file(spec="Normed", epochs=1, more=f"{drop}\n    batch_norm: local"), "--fresh")
    assert cli.status()["runs"][0]["state"] == "completed"


PLACES = [(step, rank) for step in range(STEPS) for rank in (1, 0) if (step, rank) != (STEPS - 1, 1)]


@pytest.mark.parametrize(("step", "rank"), share(PLACES, 9))
def test_a_fit_that_is_stopped_inside_an_epoch_continues_with_the_same_bits(struck, tmp_path, step, rank):
    _, weights, _ = struck
    text = file([f"stop {row_of(step, rank)}"], every=30)
    cli, _ = fit(tmp_path, text, exits=130)
    assert cli.status()["runs"][0]["state"] == "interrupted"
    cli.run("fit", "experiment.yaml")
    assert [*cli.weights().values()] == [weights["nothing"]]


@pytest.mark.campaign
@pytest.mark.parametrize("layers", ["[]", "[torch.nn.Linear]"])
def test_either_rank_can_be_killed_at_every_mark(tmp_path, layers):
    strikes = ["nothing", *dict.fromkeys(kills())]
    text = file(strikes, layers=layers).replace("hang_timeout: 1,", "hang_timeout: 600,")
    cli, said = fit(tmp_path, text)
    runs = cli.status()["runs"]
    assert said.count("died: killed by SIGKILL") == len(strikes) - 1
    assert {run["state"] for run in runs} == {"completed"}
    assert len(cli.weights()) == len(strikes) and len({*cli.weights().values()}) == 1
    assert all(run["metrics"] == runs[0]["metrics"] for run in runs)
