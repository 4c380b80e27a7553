"""Randomness: every stream of a run follows from its seed, and no run touches another's.

To redo by hand what a run draws from torch: `torch.manual_seed(derive(seed, "create_model"))` before making
the model, `torch.manual_seed(derive(seed, "training"))` before the first step, each epoch's rows in `order`.
"""

import hashlib
import random
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

Purpose: TypeAlias = Literal["prepare", "load_data", "initialize_run", "create_model", "training"]


@dataclass(frozen=True, slots=True, eq=False)
class Streams:
    """Where Python's, NumPy's and torch's global generators stand.

    Every resident run keeps one, so Python's 625 words are packed: as integers they take 24 kB.
    """

    python: tuple[int, bytes, float | None]  # version, words, the next Gaussian
    numpy: tuple[Any, ...]
    torch: Tensor
    cuda: Tensor | None


def derive(seed: int, purpose: str) -> int:
    """A 64-bit seed: the first eight bytes of the SHA-256 of "SEED PURPOSE"."""
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:8], "big")


def reseed(seed: int, purpose: Purpose) -> None:
    """Start every global generator anew."""
    value = derive(seed, purpose)
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.default_generator.manual_seed(value)  # torch.manual_seed is a hundred times slower
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed(value)


def order(seed: int, epoch: int, rows: int) -> Tensor:
    """The rows' indices (rows,) in the order in which `epoch` (from 1) trains on them."""
    generator = torch.Generator("cpu").manual_seed(derive(seed, f"epoch {epoch}"))
    return torch.randperm(rows, generator=generator, device="cpu")


def capture() -> Streams:
    """Where the global generators stand now."""
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    numpy = cast("tuple[Any, ...]", np.random.get_state())
    version, words, gauss = random.getstate()
    python = version, np.array(words, np.uint32).tobytes(), gauss
    return Streams(python, numpy, torch.get_rng_state(), cuda)


def restore(streams: Streams) -> None:
    """Put the global generators back where `capture` found them."""
    version, words, gauss = streams.python
    random.setstate((version, tuple(_words(words).tolist()), gauss))
    np.random.set_state(streams.numpy)
    torch.set_rng_state(streams.torch)
    if streams.cuda is not None:
        torch.cuda.set_rng_state(streams.cuda)


def undrawn(since: Streams) -> bool:
    """Whether nothing was drawn from any global generator since then."""
    now = capture()
    if now.cuda is not None and (since.cuda is None or not torch.equal(now.cuda, since.cuda)):
        return False
    return (
        now.python == since.python
        and all(np.array_equal(here, there) for here, there in zip(now.numpy, since.numpy, strict=True))
        and torch.equal(now.torch, since.torch)
    )


def pack(streams: Streams) -> dict[str, Any]:
    """The streams as what `torch.load(weights_only=True)` accepts."""
    version, words, gauss = streams.python
    name, keys, *rest = streams.numpy
    return {
        "python": (version, torch.from_numpy(_words(words).astype(np.int64)), gauss),
        "numpy": (str(name), torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": streams.torch,
        "cuda": streams.cuda,
    }


def unpack(packed: dict[str, Any]) -> Streams:
    """What `pack` packed."""
    version, words, gauss = packed["python"]
    name, keys, *rest = packed["numpy"]
    python = (version, words.numpy().astype(np.uint32).tobytes(), gauss)
    return Streams(python, (name, keys.numpy().astype(np.uint32), *rest), packed["torch"], packed["cuda"])


def _words(packed: bytes) -> "np.ndarray[Any, np.dtype[np.uint32]]":
    return np.frombuffer(packed, np.uint32)
