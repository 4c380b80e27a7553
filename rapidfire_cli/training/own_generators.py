"""Find the random generators of user code: on its objects, in its classes, modules and closures, and in the
libraries that it uses.

Theory of operation. The search visits what is reachable from some roots, the nearest first. Where it meets
code (a module, a class, a function, the class of an object), it goes on with the module in which the code is
written. It visits all of a user's module. Of a library, it takes only the generators that are kept in modules
and classes of the same package, since libraries are large. A generator is known by the path that leads to it.
The paths follow from the code and the objects alone, so processes that hold the same find the same ones.

The global generators of Python, NumPy and torch are not included: `rng` handles those.
"""

import random
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from itertools import islice
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rapidfire_cli.mlspec import MLSpec
from rapidfire_cli.training import rng
from rapidfire_cli.training.equality import equal
from rapidfire_cli.training.generators import KINDS, Generator, reseed, restore, state_of
from rapidfire_cli.training.user_code import is_users

MOST = 10_000  # objects that are visited (assumed: generators are few steps away from where they are used)
EACH = 100  # parts that are visited per object (assumed: there is not one generator per row of a dataset)

WITHOUT = (str, bytes, bytearray, int, float, complex, type(None), np.ndarray, Tensor)
NONE_OF_ROWS = frozenset(
    {"torch", "numpy", "transformers", "datasets", "rapidfire_cli", *sys.stdlib_module_names}
)
"""Packages whose own generators are not for rows: `datasets` names files with its own."""


class Generators:
    """The generators that are reachable from some objects, with their states at creation."""

    def __init__(self, roots: Mapping[str, Any]) -> None:
        self._found = dict(_Search(roots).found())
        self._stood = self.states()

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the generators, in order."""
        return tuple(sorted(self._found))

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
    roots = {"self": spec}
    classes = [cls for cls in type(spec).__mro__ if issubclass(cls, MLSpec) and cls is not MLSpec]
    for cls in classes:
        roots |= {f"{cls.__name__}[{name!r}]": value for name, value in vars(cls).items()}
    roots |= others
    for cls in classes:
        roots |= _written(sys.modules[cls.__module__])
    return Generators(roots)


def _written(module: ModuleType) -> dict[str, Any]:
    """The module's own names, without those that Python sets: a loader may lead to the importing program."""
    return {
        f"{module.__name__}[{name!r}]": value
        for name, value in [*vars(module).items()]
        if not name.startswith("__")
    }


class _Search:
    """A search for generators that begins with some roots."""

    def __init__(self, roots: Mapping[str, Any]) -> None:
        self._line = deque(roots.items())
        self._seen = {id(each) for each in (_python(), np.random.mtrand._rand, torch.default_generator)}
        self._packages: set[str] = set()

    def found(self) -> Iterator[tuple[str, Generator]]:
        """Yield each generator with its path, the nearest first."""
        while self._line and len(self._seen) < MOST:
            path, value = self._line.popleft()
            if id(value) in self._seen or isinstance(value, WITHOUT):
                continue
            self._seen.add(id(value))
            if isinstance(value, KINDS):
                if state_of(value) is not None:
                    yield path, value
            elif isinstance(value, ModuleType):
                self._enter(value)
            elif isinstance(value, type):
                self._enter_class(value)
            else:
                self._enter_home_of(value)
                self._line += [(path + step, part) for step, part in islice(_parts(value), EACH)]
        for path, generator in _of_packages(frozenset(self._packages), len(sys.modules)):
            if id(generator) not in self._seen:
                yield path, generator

    def _enter_home_of(self, value: Any) -> None:
        """Go on with the code of a function, or of an object's classes."""
        if isinstance(value, FunctionType | BuiltinFunctionType):
            self._meet(sys.modules.get(value.__module__ or ""))
        else:
            for cls in type(value).__mro__[:-1]:
                self._meet(cls)

    def _meet(self, code: Any) -> None:
        if id(code) not in self._seen:
            self._line.append(("", code))

    def _enter(self, module: ModuleType) -> None:
        package = module.__name__.partition(".")[0]
        if package in NONE_OF_ROWS:
            return
        if _is_own(module):
            self._line += _written(module).items()
        else:
            self._packages.add(package)

    def _enter_class(self, cls: type) -> None:
        module = sys.modules.get(cls.__module__)
        if module is None or module.__name__.partition(".")[0] in NONE_OF_ROWS:
            return
        self._meet(module)
        own = _is_own(module)
        at = f"{cls.__module__}.{cls.__qualname__}"
        for name, value in [*vars(cls).items()]:
            if own or issubclass(type(value), KINDS):
                self._line.append((f"{at}[{name!r}]", value))
        for base in cls.__mro__[1:-1]:
            self._meet(base)


def _is_own(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and is_users(file)


@lru_cache(maxsize=8)
def _of_packages(packages: frozenset[str], _loaded: int) -> tuple[tuple[str, Generator], ...]:
    """The generators in the loaded modules of these packages and in their classes; `_loaded` counts modules.

    Cached, because a package may have thousands of modules and every run searches several times.
    """
    found: dict[int, tuple[str, Generator]] = {}
    for name in sorted(name for name in [*sys.modules] if name.partition(".")[0] in packages):
        for path, value in _kept(name, sys.modules[name]):
            if issubclass(type(value), KINDS) and state_of(value) is not None:
                found.setdefault(id(value), (path, value))
    return tuple(found.values())


def _kept(name: str, module: ModuleType) -> Iterator[tuple[str, Any]]:
    """What a module and the classes that are written in it keep; reads no attribute that may be computed."""
    for key, value in [*vars(module).items()] if issubclass(type(module), ModuleType) else ():
        yield f"{name}[{key!r}]", value
        if issubclass(type(value), type) and value.__module__ == name:
            yield from ((f"{name}.{key}[{each!r}]", part) for each, part in [*vars(value).items()])


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
            cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
            yield from ((f"<{name}>", _content(cell)) for name, cell in cells)
            yield ".__defaults__", value.__defaults__
            yield ".__kwdefaults__", value.__kwdefaults__
        case MethodType() | BuiltinFunctionType():
            yield ".__self__", value.__self__
        case partial():
            yield from ((".func", value.func), (".args", value.args), (".keywords", value.keywords))
    with suppress(Exception):  # attribute access on user objects may raise anything
        yield from ((f".{name}", part) for name, part in vars(value).items())
    for cls in type(value).__mro__[:-1]:
        slots = cls.__dict__.get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else [*slots]:
            with suppress(Exception):
                yield f".{name}", getattr(value, name)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the cell is empty
        return None
