"""What people do with runs works for sharded ones, too: use, clone, compare, stop, cut and prolong them."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.scenarios.conftest import Cli
from tests.scenarios.gang_specs import Shared, rows
from tests.scenarios.pretended import fit_on_gpus
from tests.scenarios.test_gangs import file, fit, losses, row_of

LAYERS = "[torch.nn.Linear]"
LR = "train.optimizer.args.lr=0.05"
WARM = ("--warm-start", "--set", LR, "--epochs", "1")
MOST = 120  # seconds until a run has come so far


def sharded(**values: Any) -> str:
    return file(**{"layers": LAYERS, "every": 30, **values})


def by_number(cli: Cli, experiment: str = "tiny") -> dict[int, dict[str, Any]]:
    said = cli.run("status", "-e", experiment, "-o", "json").stdout
    return {run["number"]: run for run in json.loads(said)["runs"]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Cli:
    """Run 1 on one device; run 2, the same, sharded over two; a clone of each begins with its weights."""
    cli, _ = fit(tmp_path_factory.mktemp("trained"), sharded(gpus="!list [1, 2]", dropout=0.0))
    cli.run("clone", "1-2", *WARM)
    cli.run("fit", "experiment.yaml")
    assert {run["state"] for run in by_number(cli).values()} == {"completed"}
    return cli


def test_a_sharded_run_and_one_on_one_device_have_equal_losses_and_metrics(trained):
    one, two = (losses(by_number(trained)[number]) for number in (1, 2))
    assert two == pytest.approx(one, abs=1e-5)


def test_a_sharded_run_is_evaluated_as_the_journal_has_it(trained):
    for number in (2, 4):
        told = json.loads(trained.run("evaluate", f"{number}", "-o", "json").stdout)
        journaled = by_number(trained)[number]["metrics"]["validation"]
        assert told["metrics"] == pytest.approx(journaled, abs=1e-6)


def test_predictions_with_a_sharded_run_are_those_of_the_model_that_is_exported(trained):
    data = rows(9, 3)
    trained.write("".join(f"{json.dumps({'x': row['x'].tolist()})}\n" for row in data), "rows.jsonl")
    trained.run("predict", "2", "--data", "rows.jsonl", "-o", "out.jsonl")
    trained.run("export", "2", "-o", "exported")
    exported = load_file(trained.path / "exported/model.safetensors")
    final = next(trained.path.glob("rapidfire_experiments/tiny/runs/2-*/final.safetensors"))
    kept = load_file(final)
    assert exported.keys() == kept.keys() and all(exported[name].equal(kept[name]) for name in kept)
    model = Shared().create_model({"user_knobs": {"dropout": 0.0}}).eval()
    model.load_state_dict(exported)
    with torch.no_grad():
        expected = model(torch.stack([row["x"] for row in data])).double().softmax(1)
    told = [json.loads(line) for line in (trained.path / "out.jsonl").read_text().splitlines()]
    assert [each["class"] for each in told] == expected.argmax(1).tolist()
    assert [each["probability"] for each in told] == pytest.approx(expected.amax(1).tolist(), abs=1e-6)


def test_a_clone_begins_with_the_weights_and_moments_of_a_sharded_run(trained):
    found = by_number(trained)
    assert found[4]["origin"] == {"run": 2, "why": "clone"}
    assert losses(found[4]) == pytest.approx(losses(found[3]), abs=1e-5), "as a clone on one device"
    assert losses(found[4]) != pytest.approx(losses(found[2]), abs=1e-2)


@pytest.mark.campaign
def test_a_frozen_file_trains_a_sharded_run_and_its_clone_to_the_same_bits(trained):
    trained.run("freeze", "-o", "frozen.yaml")
    trained.run("fit", "frozen.yaml")
    assert trained.weights("frozen") == trained.weights()


def test_a_sharded_run_that_continues_on_fewer_gpus_says_so(tmp_path):
    cli = Cli(tmp_path)
    cli.write(sharded(gpus=2, strikes=[f"stop {row_of(2, rank=0)}"]).replace("    gpus: 2\n", ""))
    assert "continues on" not in fit_on_gpus(cli, 2, exits=130)
    said = fit_on_gpus(cli, 1)
    told = "continues on 1 device, before on 2: equal apart from rounding, not bit for bit"
    assert said.count(f"run 1  {told}\n") == 1
    assert f"it {told}\n" in cli.run("why", "1").stdout
    assert told in " ".join(cli.run("show", "1").stdout.split())
    assert by_number(cli)[1]["state"] == "completed"


SHA = """\
experiment: tiny
mlspec: tests.scenarios.gang_specs:Shared
execution: {workers: 2, checkpoint_every: 30}
sha:
  num_runs: 3
  min_epochs: 1
  max_epochs: 3
  reduction_factor: 3
  metric: loss
  direction: min
  train:
    batch_size: 6
    gpus: 2
    optimizer: {name: Adam, args: {lr: !range {start: 1.0e-4, end: 1.0e-1, log: true}}}
  fsdp_layer_cls: [torch.nn.Linear]
  user_knobs: {dropout: 0.5, strike: nothing}
"""


@pytest.mark.campaign
def test_a_bracket_of_sharded_runs_prunes_and_promotes_and_a_pruned_one_can_be_resumed(tmp_path):
    cli, _ = fit(tmp_path, SHA)
    states = {number: run["state"] for number, run in by_number(cli).items()}
    (best,) = (number for number, state in states.items() if state == "completed")
    pruned = sorted(number for number, state in states.items() if state == "pruned")
    assert len(pruned) == 2
    assert by_number(cli)[best]["epoch"] == 3 and by_number(cli)[pruned[0]]["epoch"] == 1
    cli.run("resume", f"{pruned[0]}")
    cli.run("fit", "experiment.yaml")
    assert by_number(cli)[pruned[0]]["state"] == "completed"
    cli.run("freeze", "-o", "frozen.yaml")
    cli.run("fit", "frozen.yaml")
    kept = cli.weights("frozen")
    assert len(kept) == 2 and kept == cli.weights(), "the bits of training without a bracket"


@pytest.mark.campaign
def test_a_sharded_run_that_is_cut_and_prolonged_has_the_bits_of_one_that_is_not(tmp_path):
    cut = Cli(tmp_path)
    cut.write(sharded(epochs=1).replace("workers: 2}", "workers: 2, chunks: 3}"))
    cut.run("fit", "experiment.yaml")
    cut.write(sharded(epochs=3).replace("workers: 2}", "workers: 2, chunks: 3}"))
    cut.run("fit", "experiment.yaml")
    assert "its first epoch is that of run 1" in cut.run("why", "2").stdout
    cut.write(sharded(epochs=3).replace("experiment: tiny", "experiment: whole"), "whole.yaml")
    cut.run("fit", "whole.yaml")
    kept = cut.weights("whole")
    assert len(kept) == 1 and kept.items() <= cut.weights().items()


def wait_until(happens: Callable[[], object]) -> None:
    deadline = time.monotonic() + MOST
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.campaign
def test_a_sharded_run_that_is_stopped_and_resumed_by_hand_has_the_bits_of_one_that_is_not(tmp_path):
    cli = Cli(tmp_path)
    lingers = f"linger {row_of(2, rank=1)}"
    cli.write(sharded(strikes=["nothing", lingers]).replace("hang_timeout: 1,", "hang_timeout: 600,"))
    fit = cli.start("fit", "experiment.yaml")
    marker = cli.path / f"rapidfire_experiments/tiny/misc/struck-{lingers.replace(' ', '-')}"
    wait_until(marker.exists)
    assert "stopping" in cli.run("stop", "2").stdout
    marker.rename(marker.with_name("passed"))
    _, said = fit.communicate()
    assert fit.returncode == 0, said
    assert by_number(cli)[2]["state"] == "stopped" and by_number(cli)[2]["epoch"] == 0
    cli.run("resume", "2")
    marker.touch()  # so that it does not linger again
    cli.run("fit", "experiment.yaml")
    assert by_number(cli)[2]["state"] == "completed"
    weights = cli.weights()
    assert len(weights) == 2 and len({*weights.values()}) == 1
