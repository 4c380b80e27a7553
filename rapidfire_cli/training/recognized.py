"""Recognize a state of a run's attributes that was seen before, without looking at every value again.

A walk over everything that a run can reach (`training/attributes.py`) takes ten times as long as comparing,
by identity, which objects each container holds. If those are the same objects as at an earlier walk, so is
its result, provided that everything in the containers is immutable or another container. Two results are
kept: usually those of a model that trains and of one that is evaluated. None is kept once the model has other
tensors or modules than at first, since those of that time would stay in memory.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from torch import nn

from rapidfire_cli.training import unheld
from rapidfire_cli.training.places import Place
from rapidfire_cli.training.plain import CONTAINERS, FIXED, UNKNOWN, content_of, holds

State: TypeAlias = dict[Place, Any]
"""What changed since the start, by place."""

Contents: TypeAlias = Sequence[tuple[Any, tuple[Any, ...]]]
"""Containers, and the objects that each held."""

MOST = 2  # results that are kept


class Seen(NamedTuple):
    """The value at a place, and a mark that stays equal while the value is unchanged."""

    kind: str  # data, object, alias, tensor of the model, code, iterator, keys, hooks
    mark: Any
    value: Any


class _Known(NamedTuple):
    """A walk's result, and what was there then."""

    contents: Contents  # of containers besides the model's tree
    shapes: list[Any]  # of the modules
    state: State


class Recognized:
    """The first results of walks over the attributes of a run with this model."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = [*model.modules()]
        tree = [each for one in self._modules for each in (one._parameters, one._buffers, one._modules)]
        self._tree = _contents(tree)
        self._known: list[_Known] = []
        self._left = MOST  # results that will be kept

    def result(self) -> State | None:
        """Return the result that a walk would have now; None if only a walk can tell."""
        if not (self._known and _hold(self._tree)):
            return None
        shapes = unheld.shapes(self._modules)
        found = (each.state for each in self._known if each.shapes == shapes and _hold(each.contents))
        return next((dict(state) for state in found), None)

    def add(self, found: Iterable[Seen], state: State) -> None:
        """Keep what a walk found, and its result, if it is one of the first and can be recognized."""
        if not self._left:
            return
        self._left -= 1
        if not _hold(self._tree):
            self._known, self._tree, self._modules, self._left = [], [], [], 0
        elif (containers := _containers(found)) is not None:
            self._known.append(_Known(_contents(containers), unheld.shapes(self._modules), state))


def _contents(containers: Iterable[Any]) -> Contents:
    return [(each, content_of(each)) for each in containers]


def _hold(contents: Contents) -> bool:
    return all(holds(container, content) for container, content in contents)


def _containers(found: Iterable[Seen]) -> list[Any] | None:
    """The containers that must hold the same objects if nothing changed; None if that is not sufficient."""
    containers: list[Any] = []
    for kind, its_mark, value in found:
        if its_mark is UNKNOWN or kind in ("derived", "iterator"):
            return None
        if kind in ("object", "code") and isinstance(value, unheld.CHANGEABLE):
            return None
        if kind == "object" and not any(cls.__dict__.get("__slots__") for cls in type(value).__mro__):
            containers += [value] if isinstance(value, dict | list | tuple | deque) else []
            containers += [vars(value)] if hasattr(value, "__dict__") else []
        elif kind == "data" and type(value) in CONTAINERS:
            if not all(type(part) in FIXED for part in content_of(value)):
                return None
            containers.append(value)
        elif kind == "object" or (kind == "data" and type(value) not in FIXED):
            return None
    return containers
