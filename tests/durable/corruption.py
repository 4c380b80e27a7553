"""Real checkpoints, and what may go wrong with their bytes: flips, cuts, holes of zeros, more at the end."""

import random
from pathlib import Path

from rapidfire_cli.durable import publication
from rapidfire_cli.durable.publication import Damaged
from tests.training.sandbox import TrainingSandbox, leaf


def published(directory: Path) -> list[Path]:
    """The two checkpoints of a run that was stopped within an epoch."""
    place = TrainingSandbox(directory, "Augmented", checkpoint_every=4)
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


def unseen(checkpoints: list[Path], count: int, seed: int) -> list[str]:
    """Corrupt one file after the other; what would have been loaded all the same."""
    chance = random.Random(seed)
    files = [file for checkpoint in checkpoints for file in sorted(checkpoint.iterdir())]
    taken = [f"corruption {number} of {name}" for number in range(count) if (name := _taken(files, chance))]
    for checkpoint in checkpoints:
        publication.verify(checkpoint)
    return taken


def _taken(files: list[Path], chance: random.Random) -> str:
    """Corrupt one of the files, and mend it again; its name, if what every load asks had believed it."""
    file = chance.choice(files)
    content = file.read_bytes()
    file.write_bytes(corrupted(content, chance))
    try:
        publication.verify(file.parent)
    except Damaged:
        return ""
    finally:
        file.write_bytes(content)
    return f"{file.parent.name}/{file.name}"
