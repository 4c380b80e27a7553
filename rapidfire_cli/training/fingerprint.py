"""Hashes of what results depend on besides the config: the user's code, the rows, the environment.

The hash of the code covers the tokens of each user module that the MLSpec imports, so comments, blank lines
and the kind of line ends do not matter. The hash of a split covers its length and up to 64 evenly spread
rows. The environment is everything that may change rounding.
"""

import hashlib
import io
import platform
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rapidfire_cli.durable import publication
from rapidfire_cli.mlspec import Dataset
from rapidfire_cli.terms import canonical
from rapidfire_cli.training import rng
from rapidfire_cli.training.own_generators import Generators
from rapidfire_cli.training.streams import Iterated
from rapidfire_cli.training.user_code import is_users

SAMPLE = 64  # rows of a split that are hashed (assumed: fast even if each is an image to decode)
DIGITS = 16  # hex digits of a hash
PACKAGES = ("torch", "numpy", "torchmetrics", "transformers", "datasets")
ROW_SEEDS = "by row"  # how rows are seeded; version 0.1.0 had one stream for the whole run
TOKENS = "tokens-"
"""The prefix of a hash of tokens; a hash without it is of bytes."""

LAYOUT = frozenset({tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT})
UNSEEN = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER})


def code() -> dict[str, str]:
    """Return a hash of the tokens of each user module, by the module's name."""
    return {name: hashed(source) for name, source in _sources()}


def texts() -> dict[str, str]:
    """Return a hash of the bytes of each user module, as in fingerprints of earlier versions."""
    return {name: _short(source) for name, source in _sources()}


@lru_cache(maxsize=4096)
def hashed(source: bytes) -> str:
    """Return the hash of a module's tokens, or of its bytes if they are not valid Python."""
    try:
        return TOKENS + _short("\0".join(_tokens(source)).encode(errors="surrogatepass"))
    except (tokenize.TokenError, SyntaxError, UnicodeError):
        return _short(source)


def data(splits: Mapping[str, Dataset | Iterated]) -> dict[str, str]:
    """Return a hash of each split; the random streams do not advance."""
    before = rng.capture()
    try:
        return {split: _short(_rows(rows)) for split, rows in sorted(splits.items())}
    finally:
        rng.restore(before)


def files(published: Path) -> str:
    """Return a hash of the publication's files; empty if there is no publication."""
    try:
        return _short(canonical(publication.claimed(published).files).encode())
    except publication.Damaged:
        return ""


def environment(device: str, threads: int) -> dict[str, str]:
    """Return the versions of packages, the device, the threads, and how rows are seeded."""
    known = {
        "python": platform.python_version(),
        "device": _device(device),
        "threads": str(threads),
        "row seeds": ROW_SEEDS,
    }
    return known | {package: told for package in PACKAGES if (told := _version(package))}


def _tokens(source: bytes) -> Iterator[str]:
    """Yield the tokens that have a meaning; of layout tokens only the kind."""
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type in LAYOUT:
            yield f"\1{tokenize.tok_name[token.type]}"
        elif token.type not in UNSEEN:
            yield token.string.replace("\r\n", "\n").replace("\r", "\n")


def _sources() -> Iterator[tuple[str, bytes]]:
    theirs = ((name, _source(module)) for name, module in [*sys.modules.items()])
    return ((name, source.read_bytes()) for name, source in sorted(theirs) if source)


def is_users_own(module: str) -> bool:
    """Whether the module is the user's own code."""
    return module in sys.modules and _source(sys.modules[module]) is not None


def _source(module: ModuleType) -> Path | None:
    """Return the file of a user module; None for any other module."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py") or not is_users(file):
        return None
    path = Path(file)
    return path if path.is_file() else None


def _device(device: str) -> str:
    if device == "cpu":
        return f"cpu {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return torch.cuda.get_device_name()


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _short(content: bytes | Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in [content] if isinstance(content, bytes) else content:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:DIGITS]


def _rows(rows: Dataset | Iterated) -> Iterator[bytes]:
    """Yield the bytes of rows spread over the split; random rows are the same in every process."""
    own = Generators({"dataset": rows.dataset if isinstance(rows, Iterated) else rows})
    stood = own.states()
    rng.reseed(0, "load_data")
    own.reseed(0)
    if isinstance(rows, Iterated):
        for row in islice(rows.begin(0), SAMPLE):
            yield from _spelt(row)
        own.restore(stood)
        return
    count = len(rows)
    yield str(count).encode()
    for index in range(min(count, SAMPLE)):
        yield from _spelt(rows[index * count // min(count, SAMPLE)])
    own.restore(stood)


def _spelt(value: Any) -> Iterator[bytes]:
    """Yield the value's bytes, or its type if it has no bytes."""
    match value:
        case None | bool() | int() | float() | str():
            yield repr(value).encode(errors="surrogatepass")
        case bytes():
            yield value
        case Tensor():
            yield f"{value.dtype} {tuple(value.shape)}".encode()
            yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        case np.ndarray() | np.generic() if value.dtype != object:
            yield f"{value.dtype} {value.shape}".encode()
            yield value.tobytes()
        case Mapping():
            for key, item in value.items():
                yield repr(key).encode()
                yield from _spelt(item)
        case list() | tuple():
            yield str(len(value)).encode()
            for item in value:
                yield from _spelt(item)
        case _:
            yield type(value).__qualname__.encode()
            if callable(spell := getattr(value, "tobytes", None)):  # an image
                yield spell()
