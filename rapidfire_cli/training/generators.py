"""Find the random generators of user code: on its objects, in its classes, modules and closures.

The global generators of Python, NumPy and torch are not included: `rng` handles those.
"""

import random
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from types import FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.training import rng
from rapidfire_cli.training.equality import equal

MOST = 10_000  # objects that are visited (assumed: generators are few steps away from where they are used)
EACH = 100  # parts that are visited per object (assumed: there is not one generator per row of a dataset)

Generator: TypeAlias = (
    np.random.Generator | np.random.BitGenerator | np.random.RandomState | random.Random | torch.Generator
)
KINDS = (np.random.Generator, np.random.BitGenerator, np.random.RandomState, random.Random, torch.Generator)
WITHOUT = (str, bytes, bytearray, int, float, complex, type(None), type, np.ndarray, Tensor, ModuleType)


class Generators:
    """The generators that are reachable from some objects, with their states at creation."""

    def __init__(self, roots: Mapping[str, Any]) -> None:
        self._found = dict(_found(roots))
        self._stood = self.states()

    def states(self) -> dict[str, Any]:
        """Return the current state of each generator."""
        return {path: state_of(generator) for path, generator in self._found.items()}

    def moved(self) -> str | None:
        """Return the path of the first generator that was used since creation; None if none was."""
        for path, generator in self._found.items():
            if not equal(state_of(generator), self._stood[path]):
                return path
        return None

    def restore(self, states: Mapping[str, Any]) -> None:
        """Restore every generator to the result of `states`."""
        for path, generator in self._found.items():
            restore(generator, states[path])

    def reseed(self, value: int) -> None:
        """Seed every generator from the value and the generator's path."""
        for path, generator in self._found.items():
            reseed(generator, rng.derive(value, path))


def within_reach(spec: MLSpec, **others: Any) -> Generators:
    """Return the generators reachable from an MLSpec, its classes, their modules, and the `others`."""
    classes = [cls for cls in type(spec).__mro__ if issubclass(cls, MLSpec) and cls is not MLSpec]
    modules = {cls.__module__: _written(sys.modules[cls.__module__]) for cls in classes}
    own = {cls.__name__: dict(vars(cls)) for cls in classes}
    return Generators({"self": spec, **own, **others, **modules})


def _written(module: ModuleType) -> dict[str, Any]:
    """The module's own names, without those that Python sets: a loader may lead to the importing program."""
    return {name: value for name, value in vars(module).items() if not name.startswith("__")}


def _found(roots: Mapping[str, Any]) -> Iterator[tuple[str, Generator]]:
    ours = {id(one) for one in (_python(), np.random.mtrand._rand, torch.default_generator)}
    seen, line = set(ours), deque(roots.items())
    while line and len(seen) < MOST:
        path, value = line.popleft()
        if id(value) in seen or isinstance(value, WITHOUT):
            continue
        seen.add(id(value))
        if isinstance(value, KINDS):
            if state_of(value) is not None:
                yield path, value
        else:
            line += [(path + step, part) for step, part in islice(_parts(value), EACH)]


def _python() -> random.Random:
    """Return the generator behind the functions of the module `random`."""
    generator: random.Random = random.random.__self__  # type: ignore[attr-defined]
    return generator


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield each part of an object with its path step."""
    match value:
        case dict():
            yield from ((f"[{key!r}]", part) for key, part in value.items())
        case list() | tuple() | set() | frozenset():
            yield from ((f"[{index}]", part) for index, part in enumerate(value))
        case FunctionType():
            yield from (("", _content(cell)) for cell in value.__closure__ or ())
            yield "", value.__defaults__
        case MethodType():
            yield "", value.__self__
        case partial():
            yield from (("", value.func), ("", value.args), ("", value.keywords))
    with suppress(Exception):  # attribute access on user objects may raise anything
        yield from ((f".{name}", part) for name, part in vars(value).items())


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the cell is empty
        return None


def state_of(generator: Generator) -> Any:
    """Return the generator's state; None if it has none because it reads the system's randomness."""
    try:
        match generator:
            case np.random.Generator():
                return generator.bit_generator.state
            case np.random.BitGenerator():
                return generator.state
            case np.random.RandomState():
                return generator.get_state(legacy=False)
            case random.Random():
                return generator.getstate()
            case torch.Generator():
                return generator.get_state()
    except (NotImplementedError, AttributeError):
        return None


def reseed(generator: Generator, value: int) -> None:
    """Seed a generator with a 64-bit number."""
    match generator:
        case np.random.Generator():
            reseed(generator.bit_generator, value)
        case np.random.BitGenerator():
            generator.state = type(generator)(value).state
        case np.random.RandomState():
            reseed(generator._bit_generator, value)
            generator.set_state({**generator.get_state(legacy=False), "has_gauss": 0})
        case random.Random():
            generator.seed(value)
        case torch.Generator():
            generator.manual_seed(value)


def restore(generator: Generator, state: Any) -> None:
    """Set a state that `state_of` returned for a generator of the same kind."""
    match generator:
        case np.random.Generator():
            generator.bit_generator.state = state
        case np.random.BitGenerator():
            generator.state = state
        case np.random.RandomState():
            generator.set_state(state)
        case random.Random():
            generator.setstate(state)
        case torch.Generator():
            generator.set_state(state)


def made(kind: str, state: Any) -> Any:
    """Return a new generator of that kind and state. Raises AttributeError if NumPy has no such kind."""
    new: Any
    match kind:
        case "Generator" if isinstance(state, Tensor):
            new = torch.Generator()
        case "Generator":
            new = np.random.Generator(getattr(np.random, state["bit_generator"])())
        case "Random":
            new = random.Random()
        case _:
            new = getattr(np.random, kind)()
    restore(new, state)
    return new
