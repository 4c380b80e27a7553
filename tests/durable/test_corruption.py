"""Of a corrupted checkpoint nothing is ever loaded: bits that flip, files cut short, holes of zeros."""

import random
import shutil
from pathlib import Path

import pytest

from tests.durable.corruption import corrupted, published, unseen
from tests.training.sandbox import TrainingSandbox, leaf, same

SEED, SHARE = 20261124, 300


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> list[Path]:
    return published(tmp_path_factory.mktemp("runs"))


def test_a_corrupted_checkpoint_is_never_loaded(checkpoints):
    assert unseen(checkpoints, SHARE, SEED) == []


@pytest.mark.parametrize("seed", range(6))
def test_a_run_whose_last_checkpoint_is_corrupted_goes_on_from_the_one_before(checkpoints, tmp_path, seed):
    whole = TrainingSandbox(tmp_path / "whole", "Augmented")
    whole.train(leaf(), until=3)
    chance = random.Random(seed)
    shutil.copytree(checkpoints[0].parent, tmp_path / "runs" / "1")
    last = sorted((tmp_path / "runs" / "1").glob("step-*"))[-1]
    file = chance.choice(sorted(last.iterdir()))
    file.write_bytes(corrupted(file.read_bytes(), chance))

    again = TrainingSandbox(tmp_path / "runs", "Augmented")
    again.train(leaf(), until=3)

    assert same(again.weights(), whole.weights()) and again.epochs() == whole.epochs()
    (damage,) = again.damage()
    assert damage.startswith(f"{last.name}")
