"""Several runs on one GPU: their bits, what a worker measures of them, and memory that runs out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rapidfire_cli.engine.messages import Assignment, Probe
from rapidfire_cli.terms import canonical
from tests.gpu.specs import WIDTH
from tests.training.sandbox import leaf

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).parents[2]
SGD = {"name": "SGD", "args": {"lr": 0.01}}
FILE = """\
mlspec: tests.training.specs:Blobs
gridsearch:
  train:
    epochs: 3
    batch_size: !list [8, 10, 16]  # of 37 rows: no last batch of one, on which BatchNorm cannot train
    deterministic: true
    optimizer: {name: Adam, args: {lr: 0.01}}
"""
GREEDY = """\
mlspec: tests.gpu.specs:Greedy
gridsearch:
  user_knobs: {share: !list [0.01, 0.4, 0.02]}
  train: {epochs: 2, batch_size: 10, optimizer: {name: SGD, args: {lr: 0.01}}}
"""


def fitted(place, text, *options):
    """The weights of each run by its number, and what was said, after a fit on one GPU."""
    place.mkdir()
    (place / "one.yaml").write_text(text)
    command = [sys.executable, "-m", "rapidfire_cli", "fit", str(place / "one.yaml"), "--gpus", "1"]
    command += ["--dir", str(place), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    files = sorted(place.glob("one/runs/*/final.safetensors"))
    return {file.parent.name: file.read_bytes() for file in files}, done.stderr


def test_packed_runs_make_the_bits_that_they_make_alone(tmp_path):
    alone, _ = fitted(tmp_path / "alone", FILE)
    two, _ = fitted(tmp_path / "two", FILE, "--runs-per-gpu", "2")
    measured, said = fitted(tmp_path / "auto", FILE, "--runs-per-gpu", "auto")

    assert len(alone) == 3 and two == alone and measured == alone
    (line,) = [line for line in said.splitlines() if " on each GPU: run " in line]
    print(line)
    assert line.startswith("3 runs")


def test_what_a_worker_measures_is_near_the_peak_of_training(place):
    knobs = {"rows": 640, "seconds": 0.0, "repeats": 16}
    config = leaf(SGD, epochs=2, batch_size=64, named_metrics=(), user_knobs=knobs)
    made = place("tests.gpu.specs:Busy")
    asked = Probe((), measured=(Assignment(1, canonical(config), 7, ""),))
    answer = made.executor.probe(asked)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    made.train(config, until=2)
    real = torch.cuda.max_memory_reserved()

    (peak,) = answer.peaks
    print(f"measured {peak.size / 2**20:.0f} MiB, training took {real / 2**20:.0f} MiB")
    assert not peak.failed and 4 * 4 * WIDTH**2 < peak.rest < peak.size
    assert real / 1.2 <= peak.size <= real * 1.2
    assert 0 < answer.memory.used < answer.memory.total


def test_a_run_that_runs_out_of_memory_in_a_packed_sweep_gets_the_share_of_another(tmp_path):
    """Run 2 needs 40 % of the GPU, and each of three runs has a third of it."""
    weights, _ = fitted(tmp_path / "packed", GREEDY, "--runs-per-gpu", "3")
    command = [sys.executable, "-m", "rapidfire_cli", "history", "--events", "-o", "jsonl"]
    command += ["--dir", str(tmp_path / "packed")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    causes = [event.get("cause", "") for event in map(json.loads, done.stdout.splitlines())]

    assert len(weights) == 3
    assert "ended, because run 2 needs its memory" in causes
