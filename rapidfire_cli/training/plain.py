"""Plain data: its definition, a mark that detects changes, and its form in a checkpoint.

Plain data are None, numbers, text, bytes, tensors, arrays, random generators, and containers of these. A mark
stays equal while the data are unchanged. Packed data can be read by `torch.load` with `weights_only=True`. A
list that occurs in two places is restored as one list.
"""

import hashlib
import itertools
import operator
import sys
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rapidfire_cli.training import generators

ATOMS = frozenset((bool, int, str, bytes, type(None), torch.dtype, torch.device, torch.Size))
FIXED = ATOMS | {float, complex}  # immutable types
CONTAINERS = (dict, OrderedDict, defaultdict, Counter, list, tuple, set, frozenset, deque)
TENSORS = (Tensor, nn.Parameter, nn.Buffer)

UNKNOWN = object()
"""The mark of a value whose changes cannot be detected."""


def mark(value: Any) -> Any:
    """Return a mark that stays equal while the value is unchanged; None if it is not plain data."""
    kind = type(value)
    if kind in ATOMS:
        return kind, value
    if kind is float:
        return kind, value.hex()
    if kind is set and all(type(part) is str for part in value):
        return kind, frozenset(value)
    digest = hashlib.blake2b(digest_size=16)
    try:
        _feed(digest, value, [])
    except _NotData:
        return None
    except _Unhashable:
        return UNKNOWN
    return digest.digest()


class _NotData(Exception):  # noqa: N818 - a property
    """Something in the value is not plain data."""


class _Unhashable(Exception):  # noqa: N818 - a property
    """The value is plain data whose bytes cannot be read."""


def _feed(digest: Any, value: Any, above: list[int]) -> None:
    """Update the digest with the value's type and content; `above` are the ids of its containers."""
    kind = type(value)
    digest.update(kind.__name__.encode())
    if kind in ATOMS or kind is complex or isinstance(value, Enum):
        digest.update(repr(value).encode(errors="surrogatepass"))
    elif kind is float:
        digest.update(value.hex().encode())
    elif kind in TENSORS:
        _feed_tensor(digest, value, above)
    elif kind is np.ndarray or isinstance(value, np.generic):
        if value.dtype.hasobject:
            raise _NotData
        digest.update(f"{value.dtype} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, generators.KINDS):
        if above:
            raise _NotData  # a generator keeps its identity, so it needs its own place
        _feed(digest, generators.state_of(value), [id(value)])
    elif kind in (range, slice, bytearray, array):
        digest.update(repr(value).encode())
    elif kind in CONTAINERS:
        if id(value) in above:
            raise _NotData
        for part in _contents(value):
            _feed(digest, part, [*above, id(value)])
        digest.update(b")")
    else:
        raise _NotData


def _feed_tensor(digest: Any, tensor: Tensor, above: list[int]) -> None:
    if tensor.grad_fn is not None or (above and type(tensor) is nn.Parameter):
        raise _NotData  # a parameter keeps its identity, so it needs its own place
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
        raise _Unhashable
    digest.update(f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()} {tensor.requires_grad}".encode())
    whole = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    digest.update(whole.view(torch.uint8).numpy().tobytes())


def _contents(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from itertools.chain.from_iterable(value.items())
    elif isinstance(value, set | frozenset):
        yield from sorted(value, key=repr)
    else:
        yield from value


def content_of(container: Any) -> tuple[Any, ...]:
    """Return the objects that a container holds, including keys."""
    if isinstance(container, dict) or hasattr(
        container, "values"
    ):  # a ScriptModule's containers are not dicts
        return (*container.keys(), *container.values())
    return tuple(container)


def holds(container: Any, content: tuple[Any, ...]) -> bool:
    """Whether the container holds exactly these objects, compared by identity."""
    now = content_of(container)
    return len(now) == len(content) and all(map(operator.is_, now, content))


class Packing:
    """Packs values for a checkpoint; a value that occurs in several places is packed once."""

    def __init__(self) -> None:
        self._packed: dict[int, Any] = {}
        self._alive: list[Any] = []

    def __call__(self, value: Any) -> Any:
        kind = type(value)
        if kind in ATOMS or kind in (float, complex) or kind in TENSORS:
            return value
        if id(value) not in self._packed:
            self._alive.append(value)
            self._packed[id(value)] = self._compound(value)
        return self._packed[id(value)]

    def _compound(self, value: Any) -> Any:
        kind = type(value).__name__
        if isinstance(value, np.ndarray | np.generic):
            order: Any = "F" if value.flags.fnc else "C"
            fields = value.dtype.names is not None
            dtype: Any = np.lib.format.dtype_to_descr(value.dtype) if fields else str(value.dtype)
            return ("ndarray", dtype, value.shape, value.tobytes(order), kind, order)
        if isinstance(value, bytearray):
            return (kind, bytes(value))
        if isinstance(value, array):
            return (kind, value.typecode, value.tobytes())
        if isinstance(value, generators.KINDS):
            return ("generator", kind, self(generators.state_of(value)))
        if isinstance(value, Enum):
            return ("enum", type(value).__module__, type(value).__qualname__, value.name)
        if isinstance(value, range | slice):
            return (kind, value.start, value.stop, value.step)
        if isinstance(value, dict):
            factory = getattr(value, "default_factory", None)
            named = getattr(factory, "__name__", None)
            return (kind, [(self(key), self(each)) for key, each in value.items()], named)
        limit = value.maxlen if isinstance(value, deque) else None
        return (kind, [self(each) for each in value], limit)


class Unpacking:
    """Unpacks values; `registered` are the model's tensors by name."""

    def __init__(self, registered: Mapping[str, Tensor | None]) -> None:
        self._registered = registered
        self._made: dict[int, Any] = {}

    def __call__(self, packed: Any) -> Any:
        if not isinstance(packed, tuple) or type(packed) is torch.Size:
            return packed
        if id(packed) not in self._made:
            self._made[id(packed)] = self._compound(packed)
        return self._made[id(packed)]

    def _compound(self, packed: tuple[Any, ...]) -> Any:
        match packed:
            case ("registered", str(name)):
                return self._registered[name]
            case ("ndarray", dtype, shape, content, kind, *order):  # older checkpoints have no order
                read = np.dtype if isinstance(dtype, str) else np.lib.format.descr_to_dtype
                flat = np.frombuffer(bytearray(content), dtype=read(dtype))
                whole = flat.reshape(shape, order=order[0] if order else "C")
                return whole if kind == "ndarray" else whole[()]
            case ("bytearray", content):
                return bytearray(content)
            case ("array", str(typecode), content):
                return array(typecode, content)
            case ("generator", kind, state):
                return Generated(kind, self(state))
            case ("enum", module, qualname, name):
                return _enum(module, qualname)[name]
            case ("range" | "slice" as kind, start, stop, step):
                return (range if kind == "range" else slice)(start, stop, step)
            case ("defaultdict", items, factory):
                made: Any = defaultdict(BUILTINS.get(factory))
            case ("deque", items, limit):
                return deque(map(self, items), limit)
            case ("list" | "tuple" | "set" | "frozenset" as kind, items, _):
                return SEQUENCES[kind](map(self, items))
            case (kind, items, _):
                made = DICTS[kind]()
        for key, value in items:
            made[self(key)] = self(value)
        return made


SEQUENCES: Mapping[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
DICTS: Mapping[str, Any] = {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter}
BUILTINS: Mapping[str | None, Any] = {cls.__name__: cls for cls in (int, float, list, dict, set, str)}


class Generated(NamedTuple):
    """A random generator's kind and state, to be restored into the existing generator."""

    kind: str
    state: Any


def _enum(module: str, qualname: str) -> Any:
    """Return an Enum that the run's code has imported. Raises KeyError, AttributeError or TypeError."""
    found: Any = sys.modules[module]
    for name in qualname.split("."):
        found = getattr(found, name)
    if not issubclass(found, Enum):
        raise TypeError(f"{module}.{qualname} is not an Enum")
    return found
