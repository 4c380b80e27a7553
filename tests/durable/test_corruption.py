"""Of a corrupted checkpoint nothing is ever loaded: bits that flip, files cut short, holes of zeros."""

import random
import shutil
from pathlib import Path

import pytest

from rapidfire_cli.durable import publication
from rapidfire_cli.durable.publication import Damaged
from tests.training.workplace import Workplace, leaf, same

SEED = 20261124
EVERY_DAY, WHOLE = 300, 10_000


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> list[Path]:
    """Real ones: two of a run that was stopped within an epoch."""
    place = Workplace(tmp_path_factory.mktemp("runs"), "Augmented", checkpoint_every=4)
    place.stop_at = 11
    place.train(leaf(), until=3)
    assert len(place.checkpoints()) == 2
    return place.checkpoints()


def corrupted(content: bytes, chance: random.Random) -> bytes:
    """The bytes, with something gone wrong; never the same bytes."""
    data = bytearray(content)
    at = chance.randrange(len(data))
    match chance.choice(["flip", "flips", "cut", "hole", "longer"]):
        case "flip":
            data[at] ^= 1 << chance.randrange(8)
        case "flips":
            for _ in range(chance.randint(2, 50)):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case "cut":
            del data[at:]
        case "hole":
            end = min(len(data), at + chance.choice([1, 16, 512, 4096]))
            data[at:end] = bytes(end - at)
        case "longer":
            data += chance.randbytes(chance.randint(1, 512))
    return bytes(data) if data != content else corrupted(content, chance)


def test_a_corrupted_checkpoint_is_never_loaded(checkpoints):
    check(checkpoints, EVERY_DAY)


@pytest.mark.campaign
def test_ten_thousand_corrupted_checkpoints_of_which_none_is_loaded(checkpoints):
    check(checkpoints, WHOLE)


def check(checkpoints: list[Path], count: int) -> None:
    chance = random.Random(SEED)
    files = [file for checkpoint in checkpoints for file in sorted(checkpoint.iterdir())]
    for number in range(count):
        file = chance.choice(files)
        content = file.read_bytes()
        file.write_bytes(corrupted(content, chance))
        try:
            publication.verify(file.parent)
        except Damaged:
            continue
        finally:
            file.write_bytes(content)
        pytest.fail(f"seed {SEED}: corruption {number} of {file.name} was not seen")
    for checkpoint in checkpoints:
        publication.verify(checkpoint)


@pytest.mark.parametrize("seed", range(6))
def test_a_run_whose_last_checkpoint_is_corrupted_goes_on_from_the_one_before(checkpoints, tmp_path, seed):
    whole = Workplace(tmp_path / "whole", "Augmented")
    whole.train(leaf(), until=3)
    chance = random.Random(seed)
    shutil.copytree(checkpoints[0].parents[1], tmp_path / "runs" / "1")
    last = sorted((tmp_path / "runs" / "1" / "checkpoints").iterdir())[-1]
    file = chance.choice(sorted(last.iterdir()))
    file.write_bytes(corrupted(file.read_bytes(), chance))

    again = Workplace(tmp_path / "runs", "Augmented")
    again.train(leaf(), until=3)

    assert same(again.weights(), whole.weights()) and again.epochs() == whole.epochs()
    (damage,) = again.damage()
    assert damage.startswith(f"{last.name}")
