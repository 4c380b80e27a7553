"""`fsdp_layer_cls` divides the model of a run over its devices, here over two CPU workers."""

import pytest

from tests.scenarios.test_gangs import STRIKES, file, fit
from tests.shares import share

LAYERS = "[torch.nn.Linear]"
TRIED = share([what for what in STRIKES if "raises" not in what], 3)


@pytest.fixture(scope="module")
def struck(tmp_path_factory) -> tuple[dict[str, dict], dict[str, bytes], str]:
    """Runs by what struck them, their weights, and what was said."""
    text = file(["nothing", *map(STRIKES.get, TRIED)], layers=LAYERS)
    cli, said = fit(tmp_path_factory.mktemp("struck"), text)
    runs = {run["config"]["user_knobs"]["strike"]: run for run in cli.status()["runs"]}
    weights = cli.weights()
    return runs, {strike: weights[run["id"]] for strike, run in runs.items()}, said


@pytest.mark.parametrize("what", TRIED)
def test_a_sharded_run_that_loses_its_gang_ends_with_the_bits_of_an_undisturbed_one(struck, what):
    runs, weights, said = struck
    assert runs[STRIKES[what]]["state"] == "completed"
    assert weights[STRIKES[what]] == weights["nothing"]
    assert runs[STRIKES[what]]["metrics"] == runs["nothing"]["metrics"]
    assert said.count("  failed: ") == 0
