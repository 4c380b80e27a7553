"""Marks of what a checkpoint cannot hold: if training changes it, the run is refused.

These are iterators, the hooks and classes of modules, the order of a dict's keys, the content of partial
functions, weak containers and arrays of objects, the value of an object that is also a number or a tensor,
and memory that an array shares with another array or tensor.
"""

import functools
import types
import weakref
from array import array
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy

from rapidfire_cli.training import fingerprint
from rapidfire_cli.training.plain import UNKNOWN, mark

WEAK = (weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet)
CHANGEABLE = (np.ndarray, Tensor, bytearray, set, array, *WEAK)
"""Types whose content can change while nothing that refers to them does."""

VALUES = (int, float, complex, str, bytes, bytearray, set, frozenset, array)

hooks = attrgetter("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""A module's hooks that its outputs or gradients may depend on."""


class Span(NamedTuple):
    """The addresses of a value's memory, and whether it is an array."""

    begin: int
    end: int
    id: int
    of_array: bool


def content(value: Any) -> Any:
    """Return a mark of what a foreign object holds; None if it is not of a kind whose content is known."""
    if isinstance(value, functools.partial):
        return (_named(value.func), *map(_named, value.args), *_pairs(value.keywords.items()))
    if isinstance(value, weakref.WeakSet):
        return frozenset(map(id, value))
    if isinstance(value, weakref.WeakKeyDictionary | weakref.WeakValueDictionary):
        return tuple((id(key), _named(each)) for key, each in value.items())
    if isinstance(value, np.ndarray) and value.dtype.hasobject and value.dtype.names is None:
        return (value.shape, *map(_named, value.ravel()))
    return None


def value_of(value: Any) -> Any:
    """Return a mark of the number, text, set, array or tensor that an object is by its base class."""
    if isinstance(value, Tensor):
        return mark(value.detach().as_subclass(Tensor))
    if isinstance(value, np.ndarray):
        return content(value) if value.dtype.hasobject else mark(value.view(np.ndarray))
    base = next((kind for kind in VALUES if isinstance(value, kind)), None)
    if base in (set, frozenset):
        return frozenset(map(_named, value))
    return None if base is None else base.__repr__(value)


def position(iterator: Iterator[Any]) -> Any:
    """Return the position of an iterator, as far as Python shows it."""
    if isinstance(iterator, types.GeneratorType):
        frame = iterator.gi_frame
        return (frame.f_lasti, mark(list(frame.f_locals.values())) or UNKNOWN) if frame else "over"
    try:
        return repr(iterator.__reduce__())
    except Exception:
        return UNKNOWN


def hooked(module: nn.Module) -> tuple[Any, ...]:
    """Return a mark of the hooks that user code set on a module; libraries set theirs again by themselves."""
    each = (hook for kind in hooks(module) for hook in kind.values())
    return tuple(_named(hook) for hook in each if fingerprint.is_users_own(_module_of(hook)))


def shapes(modules: Iterable[nn.Module]) -> list[Any]:
    """Return the class of each module and the numbers of its hooks, which its attributes do not show."""
    return [(type(module), *map(len, hooks(module))) for module in modules]


def class_of(value: Any) -> str:
    """Return the name of an object's class; empty for a lazy module, whose class its first batch changes."""
    cls = type(value)
    if isinstance(value, nn.Module):  # `fully_shard` derives classes from the modules'
        cls = next(cls for cls in cls.__mro__ if not cls.__module__.startswith("torch.distributed"))
    return "" if isinstance(value, LazyModuleMixin) else f"{cls.__module__}.{cls.__qualname__}"


def keys(mapping: Mapping[Any, Any]) -> tuple[Any, ...]:
    """Return a mark of a mapping's keys in their order."""
    return tuple(key if isinstance(key, str | int) else (id(key),) for key in mapping)


def same_keys(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    """Whether the keys that stayed have the same order, and all keys that a file cannot hold stayed."""
    kept = set(before) & set(now)
    lost = {key for key in {*before} ^ {*now} if isinstance(key, tuple)}
    return not lost and [key for key in before if key in kept] == [key for key in now if key in kept]


def overlapping(values: Iterable[Any]) -> set[int]:
    """Return the ids of the arrays that share memory with another of the arrays and tensors in `values`."""
    spans = sorted({span for value in values for span in _spans(value)})
    found: set[int] = set()
    widest: Span | None = None
    for span in spans:
        if widest and span.begin < widest.end and span.id != widest.id:
            found |= {each.id for each in (widest, span) if each.of_array}
        widest = span if widest is None or span.end > widest.end else widest
    return found


def _spans(value: Any) -> Iterator[Span]:
    if isinstance(value, np.ndarray) and value.size:
        begin, end = np.lib.array_utils.byte_bounds(value)
        yield Span(begin, end, id(value), of_array=True)
    elif not isinstance(value, Tensor) or is_lazy(value):
        return
    elif value.layout is torch.strided and value.device.type == "cpu":
        storage = value.untyped_storage()
        if begin := storage.data_ptr():
            yield Span(begin, begin + storage.nbytes(), begin, of_array=False)


def _named(value: Any) -> Any:
    """A mark of a part: its content if it is plain data, the name of a function, or else its identity."""
    found = mark(value)
    if found is not None and found is not UNKNOWN:
        return found
    name = getattr(value, "__qualname__", None)
    return (value.__module__, name) if name and callable(value) else id(value)


def _pairs(items: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    return ((key, _named(each)) for key, each in items)


def _module_of(hook: Any) -> str:
    while isinstance(hook, functools.partial):
        hook = hook.func
    return getattr(hook, "__module__", None) or type(hook).__module__
