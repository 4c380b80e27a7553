"""Random streams: each stream of a run is derived from its seed, and runs do not affect each other's streams.

To reproduce torch's random numbers of a run by hand, call `torch.manual_seed(derive(seed, "create_model"))`
before creating the model and `torch.manual_seed(derive(seed, "training"))` before the first step, and train
on each epoch's rows in `order`. The random numbers of rows come from other streams: see `row_streams`.
"""

import hashlib
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

Purpose: TypeAlias = Literal["prepare", "load_data", "initialize_run", "create_model", "training"]
Python: TypeAlias = tuple[int, bytes, float | None]
"""The state of Python's generator: version, 32-bit words, the next Gaussian."""
NumPy: TypeAlias = tuple[str, bytes, int, int, float]
"""The state of NumPy's generator: algorithm, 32-bit words, position, has a next Gaussian, its value."""
SEEDS = 16  # seeds whose initial streams a worker caches, 10 kB each (assumed: replicates take turns)


@dataclass(frozen=True, slots=True, eq=False)
class Streams:
    """The states of the global generators of Python, NumPy and torch.

    Every resident run keeps one, so Python's 625 words are packed: as integers they would take 24 kB.
    """

    python: Python
    numpy: NumPy
    torch: Tensor
    cuda: Tensor | None


def derive(seed: int, purpose: str) -> int:
    """Derive a 64-bit seed: the first eight bytes of the SHA-256 of "SEED PURPOSE"."""
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:8], "big")


def reseed(seed: int, purpose: Purpose) -> None:
    """Seed every global generator for a purpose of a run with that seed."""
    seed_all(derive(seed, purpose))


def seed_all(value: int) -> None:
    """Seed every global generator with a 64-bit number."""
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.default_generator.manual_seed(value)  # torch.manual_seed is a hundred times slower
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed(value)


def order(seed: int, epoch: int, rows: int) -> Tensor:
    """Return the indices of `rows` rows, (rows,), in the order in which `epoch` (from 1) trains on them."""
    generator = torch.Generator("cpu").manual_seed(derive(seed, f"epoch {epoch}"))
    return torch.randperm(rows, generator=generator, device="cpu")


def capture(like: Streams | None = None) -> Streams:
    """Return the states of the global generators; states equal to those of `like` share its memory."""
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    python, numpy = _python(random.getstate()), _numpy(np.random.get_state())
    own = torch.get_rng_state()
    if like is not None:
        python = like.python if python == like.python else python
        numpy = like.numpy if numpy == like.numpy else numpy
        own = like.torch if torch.equal(own, like.torch) else own
    return Streams(python, numpy, own, cuda)


def first(seed: int, rank: int = 0) -> Streams:
    """Return the result of `capture` after `reseed(seed, "training")`, without changing global generators.

    Each further rank of a gang has its own streams.
    """
    value = derive(seed, f"training rank {rank}" if rank else "training")
    cuda = torch.Generator("cuda").manual_seed(value).get_state() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    return Streams(*_seeded(value), cuda)


@lru_cache(SEEDS)
def _seeded(value: int) -> tuple[Python, NumPy, Tensor]:
    numpy = np.random.RandomState(value % 2**32).get_state()
    return (
        _python(random.Random(value).getstate()),
        _numpy(numpy),
        torch.Generator().manual_seed(value).get_state(),
    )


def restore(streams: Streams) -> None:
    """Restore the global generators to the result of `capture`."""
    version, words, gauss = streams.python
    random.setstate((version, tuple(_words(words).tolist()), gauss))
    algorithm, words, place, has_next, following = streams.numpy
    np.random.set_state((algorithm, _words(words), place, has_next, following))
    torch.set_rng_state(streams.torch)
    if streams.cuda is not None:
        torch.cuda.set_rng_state(streams.cuda)


def unchanged_since(since: Streams) -> bool:
    """Whether no global generator was used since `since` was captured."""
    now = capture()
    if now.cuda is not None and (since.cuda is None or not torch.equal(now.cuda, since.cuda)):
        return False
    return (now.python, now.numpy) == (since.python, since.numpy) and torch.equal(now.torch, since.torch)


def pack(streams: Streams, seed: int, rank: int = 0) -> dict[str, Any]:
    """Convert the streams of a run with that seed to data that `torch.load(weights_only=True)` accepts.

    A stream that the run has not used is None: it can be derived from the seed.
    """
    start = first(seed, rank)
    version, words, gauss = streams.python
    algorithm, places, *rest = streams.numpy
    return {
        "python": None if streams.python == start.python else (version, _tensor(words), gauss),
        "numpy": None if streams.numpy == start.numpy else (algorithm, _tensor(places), *rest),
        "torch": None if torch.equal(streams.torch, start.torch) else streams.torch,
        "cuda": streams.cuda,
    }


def unpack(packed: dict[str, Any], seed: int, rank: int = 0) -> Streams:
    """Return the streams from the result of `pack`."""
    start = first(seed, rank)
    python, numpy, own = packed["python"], packed["numpy"], packed["torch"]
    return Streams(
        (python[0], _bytes(python[1]), python[2]) if python else start.python,
        (numpy[0], _bytes(numpy[1]), *numpy[2:]) if numpy else start.numpy,
        start.torch if own is None else own,
        packed["cuda"],
    )


def _python(state: tuple[Any, ...]) -> Python:
    version, words, gauss = state
    return version, np.array(words, np.uint32).tobytes(), gauss


def _numpy(state: Any) -> NumPy:
    algorithm, words, *rest = state
    return str(algorithm), words.tobytes(), *rest


def _words(packed: bytes) -> "np.ndarray[Any, np.dtype[np.uint32]]":
    return np.frombuffer(packed, np.uint32)


def _tensor(words: bytes) -> Tensor:
    return torch.frombuffer(bytearray(words), dtype=torch.int32)


def _bytes(words: Tensor) -> bytes:
    """Return the words of a tensor of 32-bit integers, or of 64-bit integers from format 2."""
    return words.numpy().astype(np.uint32).tobytes()
