"""Runs on one GPU: each ends with the bits that it has alone, however it is moved."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.sandbox import SPECS, TrainingSandbox, leaf, same

pytestmark = pytest.mark.gpu
BLOBS = f"{SPECS}:Blobs"
KNOBS = {"fp32": {}, "bf16": {"precision": "bf16"}, "fp16": {"precision": "fp16"}}
FILE = """\
mlspec: tests.training.specs:Blobs
gridsearch:
  train:
    epochs: 3
    batch_size: !list [8, 10, 16]  # of 37 rows: no last batch of one, on which BatchNorm cannot train
    deterministic: true
    optimizer: {name: Adam, args: {lr: 0.01}}
"""


def config(precision="fp32", **knobs):
    return leaf(deterministic=True, **KNOBS[precision], **knobs)


@pytest.mark.parametrize("precision", KNOBS)
def test_a_run_ends_with_the_bits_that_it_has_alone(place, precision):
    alone, beside = place(BLOBS, "alone"), place(BLOBS, "beside")
    alone.train(config(precision), until=3)
    for epoch in (1, 2, 3):
        beside.train(config(batch_size=16), until=epoch, run=2, seed=7)
        beside.train(config(precision), until=epoch)
        beside.train(config("bf16"), until=epoch, run=3, seed=8)

    assert same(beside.weights(), alone.weights())
    assert beside.epochs() == alone.epochs() != {}
    assert not same(beside.weights(), beside.weights(2))


@pytest.mark.parametrize("precision", KNOBS)
def test_a_run_continues_from_a_checkpoint_with_the_same_bits(place, precision):
    alone = place(BLOBS, "alone")
    alone.train(config(precision), until=3)
    for tick in range(1, 7):
        moved = place(BLOBS, "moved", chunks=2)
        moved.train(config(precision), until=tick)
        moved.evict()

    assert same(moved.weights(), alone.weights())
    assert moved.epochs() == alone.epochs()
    assert {weight.dtype for weight in moved.weights().values()} >= {torch.float32}


def test_fp16_scales_the_gradients_and_checkpoints_hold_the_scale(place):
    made = place(BLOBS, chunks=2)
    made.train(config("fp16"), until=1)
    made.evict()
    state = torch.load(made.checkpoints()[-1] / "state.pt", weights_only=True)

    assert state["scaler"]["scale"] > 1
    assert not made.log().count("Traceback")


def test_a_checkpoint_of_a_gpu_is_read_on_the_cpu(place, tmp_path):
    made = place(BLOBS)
    made.train(config(), until=2)
    made.evict()
    there = TrainingSandbox(tmp_path / "place", BLOBS)
    there.train(config(), until=3)

    assert there.epochs().keys() >= {3}


def test_out_of_memory_fails_the_run_alone_and_leaves_nothing_behind(place):
    made = place("tests.gpu.specs:Hungry")
    made.train(config(), until=1, run=2)
    before = torch.cuda.memory_allocated()
    made.train(config(user_knobs={"hungry": True}), until=3, run=1)
    made.train(config(), until=3, run=2)

    assert made.failure(1).kind == "oom"
    assert made.epochs(2).keys() >= {3}
    assert torch.cuda.memory_allocated() <= before + 2**20


def test_workers_that_share_a_gpu_make_the_bits_of_one(tmp_path):
    (tmp_path / "one.yaml").write_text(FILE)
    root = Path(__file__).parents[2]
    found = {}
    for workers in ("1", "3"):
        command = [sys.executable, "-m", "rapidfire_cli", "fit", str(tmp_path / "one.yaml")]
        command += ["--gpus", "1", "--workers", workers, "--dir", str(tmp_path / workers)]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=200)
        assert done.returncode == 0, done.stderr
        files = sorted((tmp_path / workers).glob("one/runs/*/final.safetensors"))
        found[workers] = {file.parent.name: file.read_bytes() for file in files}

    assert len(found["1"]) == 3
    assert found["1"] == found["3"]
