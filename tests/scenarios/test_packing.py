"""Runs that share a GPU have the bits that they have alone; here a slot on the CPU pretends to be it."""

import json

import pytest

from tests.scenarios.conftest import GRID, HEADER, Cli
from tests.scenarios.pretended import fit_on_gpus

LONG = GRID.replace("pause: 0}", "pause: 0.01}")  # so that several workers are up before they end
DEMO = LONG.replace("gridsearch:\n", "gridsearch:\n  dev_knob: {demo_mode: imdb}\n")


def trained(cli: Cli, name: str, text: str, *options: str) -> tuple[dict[str, bytes], str]:
    """The weights of each run by its number, and what was said."""
    cli.write(HEADER + text)
    said = fit_on_gpus(cli, 1, "--dir", name, *options)
    files = sorted((cli.path / name).glob("tiny/runs/*/final.safetensors"))
    return {file.parent.name.split("-")[0]: file.read_bytes() for file in files}, said


def slots(cli: Cli, name: str) -> set[int]:
    """The slots on which runs had turns."""
    printed = cli.run("history", "--events", "-o", "jsonl", "--dir", name).stdout
    events = map(json.loads, printed.splitlines())
    return {event["slot"] for event in events if event["event"] == "worker_started"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one run after the other makes."""
    cli = Cli(tmp_path_factory.mktemp("alone"))
    weights, said = trained(cli, "alone", LONG)
    assert len(weights) == 4 and slots(cli, "alone") == {0} and "on each GPU" not in said
    return weights


def test_as_many_runs_train_at_once_as_were_measured_to_fit_with_the_same_bits(tmp_path, alone):
    cli = Cli(tmp_path)
    weights, said = trained(cli, "packed", LONG, "--runs-per-gpu", "auto")

    (line,) = [line for line in said.splitlines() if "on each GPU" in line]
    assert line.startswith("4 runs on each GPU: run ") and line.endswith(" would fit")
    assert len(slots(cli, "packed")) > 1
    assert weights == alone
    found = json.loads(cli.run("status", "--dir", "packed", "-o", "json").stdout)["packing"]
    assert found == {"runs": 4, "why": line, "given": []}
    for words in (("status",), ("show", "2"), ("why", "2")):
        assert line in " ".join(cli.run(*words, "--dir", "packed").stdout.split())


def test_a_predefined_placement_trains_without_a_measurement_with_the_same_bits(tmp_path, alone):
    cli = Cli(tmp_path)
    weights, said = trained(cli, "demo", DEMO)

    assert "on each GPU" not in said and len(slots(cli, "demo")) > 1
    assert weights == alone
