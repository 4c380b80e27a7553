"""`fsdp_layer_cls` divides the model of a run over its devices, here over two CPU workers."""

import json

import pytest

from tests.scenarios.conftest import Cli
from tests.scenarios.test_gangs import STRIKES, file, fit, losses
from tests.shares import share

LAYERS = "[torch.nn.Linear]"
TRIED = share([what for what in STRIKES if "raises" not in what], 3)


@pytest.fixture(scope="module")
def struck(tmp_path_factory) -> tuple[dict[str, dict], dict[str, bytes], str, Cli]:
    """Runs by what struck them, their weights, what was said, and where."""
    text = file(["nothing", *map(STRIKES.get, TRIED)], layers=LAYERS)
    cli, said = fit(tmp_path_factory.mktemp("struck"), text)
    runs = {run["config"]["user_knobs"]["strike"]: run for run in cli.status()["runs"]}
    weights = cli.weights()
    return runs, {strike: weights[run["id"]] for strike, run in runs.items()}, said, cli


@pytest.mark.parametrize("what", TRIED)
def test_a_sharded_run_that_loses_its_gang_ends_with_the_bits_of_an_undisturbed_one(struck, what):
    runs, weights, said, _ = struck
    assert runs[STRIKES[what]]["state"] == "completed"
    assert weights[STRIKES[what]] == weights["nothing"]
    assert runs[STRIKES[what]]["metrics"] == runs["nothing"]["metrics"]
    assert said.count("  failed: ") == 0


def test_one_device_evaluates_a_run_that_was_sharded(struck):
    runs, _, _, cli = struck
    run = runs["nothing"]
    found = json.loads(cli.run("evaluate", f"{run['number']}", "--output", "json").stdout)
    assert found["metrics"]["loss"] == pytest.approx(run["metrics"]["validation"]["loss"], abs=1e-6)


def test_a_sharded_run_and_one_on_one_device_have_equal_losses_and_metrics(tmp_path):
    cli, said = fit(tmp_path, file(gpus="!list [1, 2]", dropout=0.0, epochs=3, every=30, layers=LAYERS))
    one, two = cli.status()["runs"]
    assert (one["state"], two["state"]) == ("completed", "completed")
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    assert "W201" not in said
