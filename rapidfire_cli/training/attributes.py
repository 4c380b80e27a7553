"""Track the plain Python attributes of a run's objects that change during training, for checkpoints.

Theory of operation. torch registers parameters and buffers. Everything else that a module or an MLSpec keeps
(a temperature, a cached length, a list of past losses, a random generator) is a plain attribute, which no
`state_dict` holds. When a run is created, `Attributes` walks everything reachable from named roots. It
records a mark of the value at each place. A place is the path of attribute names, keys and indices that leads
to a value. The same code creates the objects on every worker, so only differences must be saved: `changed`
walks again and returns the places whose marks differ, as data that `torch.load` reads with
`weights_only=True`. `restore` puts these values into the objects of another worker.

Most runs never change an attribute, apart from `training` of modules. Therefore `changed` first asks
`training/recognized.py` whether it has seen this state before, which takes a tenth of the time of a walk.

Supported values: None, numbers, text, bytes, tensors, arrays, random generators, containers of these, and
objects of classes written in Python (by their attributes). Unsupported changes: an object that is new or was
replaced by one of another type, an iterator that advanced, a foreign object that was replaced. These raise
Unholdable, so that a run never continues with other bits than it would have had. So do the changes that
`training/unheld.py` detects, such as hooks that user code adds.

Not inspected: classes, modules of code, functions other than by name, the inside of foreign objects
(such as a tokenizer written in Rust), and, below the MLSpec, objects of third-party packages.
"""

import io
import itertools
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rapidfire_cli.training import fingerprint, generators, unheld
from rapidfire_cli.training.places import AT, EXTRA, TREE, Place, delete, get, own, put, spelled
from rapidfire_cli.training.plain import (
    ATOMS,
    CONTAINERS,
    UNKNOWN,
    Generated,
    Packing,
    Unpacking,
    mark,
)
from rapidfire_cli.training.recognized import Recognized, Seen, State

MODEL, OPTIMIZER = "model", "optimizer"
"""Names of roots: the model, optimizers of a class that is not torch's."""

HOOKS = frozenset(vars(nn.Module())) - {*TREE, "_non_persistent_buffers_set"}
"""The attributes of nn.Module itself. They include `training`, which `training/state.py` saves."""

SHARDED = ("_fsdp_", "_is_fsdp_", "__composable_api_state_key_")
"""What the names of attributes begin with that `fully_shard` adds to modules."""

HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement, or by an extension that does the same
CODE = (
    *(type, types.ModuleType, types.BuiltinFunctionType, types.MethodType),
    *(types.MappingProxyType, types.MethodWrapperType, types.WrapperDescriptorType),
)
OURS = "rapidfire_cli"
OPAQUE = ("logging", "threading", "concurrent", "multiprocessing", "socket", "sqlite3", "weakref")
"""Packages whose objects lead to the state of the whole process."""

OPEN = ("torch", "torchmetrics", "transformers", "peft")
"""Packages whose objects are always inspected; objects of other packages only below the model."""

DELETED = "deleted"

KEYS, HOOKED = "keys()", "hooks"  # in a place instead of an attribute: they cannot be restored


class Unholdable(Exception):  # noqa: N818 - a property of the state
    """A value cannot be saved in a checkpoint; the argument says where and why."""


class Attributes:
    """The attributes of everything reachable from `roots`, and their values when the run was created.

    Parameters and buffers of `model` are in the checkpoint anyway: places refer to them by name.
    """

    def __init__(self, roots: Mapping[str, object], model: nn.Module) -> None:
        self._roots = roots
        self._model = model
        found = self._walk()
        self._before = {
            place: seen
            if seen.kind in ("code", "derived")
            else seen._replace(value=None)  # only an id needs its value kept alive
            for place, seen in found.items()
        }
        self._recognized = Recognized(model)
        self._recognized.add(found.values(), {})

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Let a change in the block, which rapidfire makes to the model, not count as one of the run."""
        unchanged = self._recognized.result() == {}
        yield
        self._recognized = Recognized(self._model)
        if unchanged:
            self._recognized.add(self._walk().values(), {})

    def second_place(self, model: nn.Module) -> str | None:
        """Return the first attribute that holds a parameter a second time; None if there is none."""
        names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        kept = (at for at, seen in self._before.items() if seen.kind == "registered" and seen.mark in names)
        return next((spelled(place) for place in kept), None)

    def recognized(self) -> State | None:
        """Return the result of `changed` if the model has the same tensors and modules; None if unknown."""
        return self._recognized.result()

    def changed(self) -> State:
        """Return every place whose value changed, with the value as tensors and plain data.

        Raises Unholdable if a checkpoint cannot hold a changed value.
        """
        if (known := self._recognized.result()) is not None:
            return known
        now, pack = self._walk(), Packing()
        state: State = {}
        for place, seen in now.items():
            if not _same(self._before.get(place), seen):
                state[place] = (seen.kind, _packed(place, seen, pack))
        gone: list[Place] = []
        for place in self._before:
            owners = [place[:end] for end in range(1, len(place))]
            if place not in now and not any(owner in state or owner in gone for owner in owners):
                gone.append(place)
        self._check_memory({place: now[place] for place in state}, now.values())
        state |= dict.fromkeys(reversed(gone), (DELETED, None))  # delete from the end of a list
        self._recognized.add(now.values(), state)
        return state

    def _check_memory(self, changed: Mapping[Place, Seen], now: Iterable[Seen]) -> None:
        """Check that no changed array shares its memory. Raises Unholdable."""
        arrays = {place: seen for place, seen in changed.items() if isinstance(seen.value, np.ndarray)}
        values = [*(seen.value for seen in now), *registered(self._model).values()] if arrays else ()
        shared = unheld.overlapping(values)
        for place, seen in arrays.items():
            if id(seen.value) in shared:
                raise _refusal(place, "the array shares its memory with another array or tensor")

    def restore(self, state: State) -> None:
        """Restore the result of `changed` into objects that were just created by the same code.

        Tensors replace the present ones, so that tensors that shared memory share it again.
        """
        tensors = registered(self._model)
        unpack = Unpacking(tensors)
        for place, seen in self._before.items():  # a buffer may be another tensor by now
            if seen.kind == "registered" and place not in state:
                self._put(place, tensors[seen.mark])
        for place, (kind, packed) in state.items():
            if place[0] not in self._roots:  # a trained run is used without its optimizer
                continue
            if kind == DELETED:
                self._delete(place)
            else:
                self._put(place, self._find(packed) if kind == "alias" else unpack(packed))

    def _put(self, place: Place, value: Any) -> None:
        owner, key = self._find(place[:-1]), place[-1]
        present = get(owner, key, None)
        if isinstance(value, Generated) and type(present).__name__ == value.kind:
            generators.restore(present, value.state)
        elif isinstance(value, Generated):
            self._put(place, generators.made(value.kind, value.state))
        elif isinstance(present, nn.Parameter) and isinstance(value, Tensor):
            present.data = value.data.to(present.device)
            present.requires_grad_(value.requires_grad)
        elif isinstance(owner, tuple) and isinstance(key, int):
            changed = [value if at == key else each for at, each in enumerate(owner)]
            made = type(owner)(*changed) if hasattr(owner, "_fields") else tuple(changed)
            self._put(place[:-1], made)
        else:
            put(owner, key, value)

    def _delete(self, place: Place) -> None:
        owner, key = self._find(place[:-1]), place[-1]
        if isinstance(owner, tuple) and isinstance(key, int):
            self._put(place[:-1], owner[:key])
        else:
            delete(owner, key)

    def _walk(self) -> dict[Place, Seen]:
        optimizers = self._roots.get(OPTIMIZER, ())
        walk = _Walk(self._model, optimizers if isinstance(optimizers, list) else [optimizers])
        for name, root in self._roots.items():
            walk.visit((name,), root)
        return walk.found

    def _find(self, place: Place) -> Any:
        name, *steps = place
        found: Any = self._roots[name]
        for step in steps:
            found = get(found, step, None)
        return found


class _Walk:
    """A walk over everything reachable. It visits each object once, at the first place that leads to it."""

    def __init__(self, model: nn.Module, optimizers: Iterable[object]) -> None:
        self.found: dict[Place, Seen] = {}
        self._places: dict[int, Place] = {}
        self._optimizers = {id(each) for each in optimizers}
        self._tree = {id(module) for module in model.modules()}
        self._registered = {
            id(tensor): name for name, tensor in registered(model).items() if tensor is not None
        }

    def visit(self, place: Place, value: Any) -> None:
        """Record the value at the place, and everything reachable from it."""
        if (kind := type(value)) in ATOMS:  # the common case, at a fraction of the cost
            self.found[place] = Seen("data", (kind, value), value)
        elif (name := self._registered.get(id(value))) is not None:
            self.found[place] = Seen("registered", name, name)
        elif isinstance(value, Tensor) and value.grad_fn is not None:
            self.found[place] = Seen("derived", id(value), value)
        elif place[-1] == EXTRA:  # the method may return the same object with changed content
            self.found[place] = Seen("data" if mark(value) is not None else "code", UNKNOWN, value)
        elif place[-1] != "_modules" and (found := mark(value)) is not None:
            self.found[place] = Seen("data", found, value)
        elif type(value).__module__.partition(".")[0] == OURS:
            return  # a view of the config: each access creates a new one, and its content is constant
        elif (met := self._places.get(id(value))) is not None:
            self.found[place] = Seen("alias", met, met)
        else:
            self._places[id(value)] = place
            self._look_into(place, value)

    def _look_into(self, place: Place, value: Any) -> None:
        code = _is_code(value, of_model=place[0] in (MODEL, OPTIMIZER))
        if (content := unheld.content(value)) is not None:
            self.found[place] = Seen("code", content, value)
        elif code and isinstance(value, Iterator) and not isinstance(value, io.IOBase):
            self.found[place] = Seen("iterator", unheld.position(value), value)
        elif isinstance(value, types.FunctionType):
            self.found[place] = Seen("code", (value.__module__, value.__qualname__), value)
        elif code:
            self.found[place] = Seen("code", id(value), value)
        else:
            self.found[place] = Seen("object", (unheld.class_of(value), unheld.value_of(value)), value)
            if isinstance(value, dict):
                self.found[*place, KEYS] = Seen("keys", unheld.keys(value), None)
            elif isinstance(value, nn.Module):
                self.found[*place, HOOKED] = Seen("hooks", unheld.hooked(value), None)
            for key, below in self._parts(value):
                self.visit((*place, key), below)

    def _parts(self, value: Any) -> Iterator[tuple[Any, Any]]:
        if isinstance(value, nn.Module):
            skipped = HOOKS | {"_parameters", "_buffers"} if id(value) in self._tree else HOOKS
            speaks = type(value).get_extra_state is not nn.Module.get_extra_state
            for key, below in vars(value).items():
                if (key == "_modules" and not below) or key.startswith(SHARDED):  # usually a layer
                    continue
                if key not in skipped and not (speaks and key not in TREE and mark(below) is None):
                    yield key, below
            if speaks:
                yield EXTRA, value.get_extra_state()
        elif isinstance(value, dict):
            for at, (key, below) in enumerate(value.items()):
                yield (key if isinstance(key, str | int) else (AT, at)), below
        elif isinstance(value, list | tuple | deque):
            yield from enumerate(value)
        skipped = _of_optimizers() if id(value) in self._optimizers else frozenset()
        yield from ((key, below) for key, below in own(value) if key not in skipped)


@cache
def _of_optimizers() -> frozenset[str]:
    """The attributes of torch's own optimizers; `training/state.py` saves `state` and `param_groups`.

    Schedulers set `step` and `_opt_called`. Where `dynamo` does not defer it, the first optimizer loads
    torch's compiler, so none is made when this module is imported.
    """
    return frozenset(vars(torch.optim.SGD([torch.empty(0)]))) | {"step", "_opt_called"}


def registered(model: nn.Module) -> dict[str, Tensor | None]:
    """Every parameter and buffer of the model, by dotted name; None for one that is not set."""
    return {
        f"{prefix}.{name}" if prefix else name: tensor
        for prefix, module in model.named_modules(remove_duplicate=True)
        for name, tensor in itertools.chain(module._parameters.items(), module._buffers.items())
    }


def _is_code(value: Any, of_model: bool) -> bool:
    """Whether the value must not be inspected: code, or an object of a foreign class."""
    cls: Any = type(value)
    if isinstance(value, nn.Module) or cls in CONTAINERS or cls is types.SimpleNamespace:
        return False
    return isinstance(value, CODE) or not _in_python(cls) or not (of_model or _is_open(cls))


@cache
def _in_python(cls: Any) -> bool:
    """Whether Python can see all attributes of the class's instances, and its package is not opaque."""
    heap = bool(cls.__flags__ & HEAP_TYPE)
    own = any("__dict__" in vars(one) or "__slots__" in vars(one) for one in cls.__mro__[:-1])
    return heap and own and cls.__module__.partition(".")[0] not in OPAQUE


@cache
def _is_open(cls: Any) -> bool:
    """Whether the class is the user's own, or belongs to a package that models are built from."""
    return cls.__module__.partition(".")[0] in OPEN or fingerprint.is_users_own(cls.__module__)


# Marks


def _same(before: Seen | None, now: Seen) -> bool:
    if before is None or before.kind != now.kind:
        return False
    if now.kind == "code" and isinstance(now.mark, int):
        return before.value is now.value
    if now.kind == "keys":
        return unheld.same_keys(before.mark, now.mark)
    if now.kind == "object" and before.mark[0] == "":
        return True
    return bool(before.mark == now.mark) and now.mark is not UNKNOWN


def _packed(place: Place, seen: Seen, pack: Packing) -> Any:
    """What the place holds, packed. Raises Unholdable."""
    match seen.kind:
        case "data":
            return pack(seen.value)
        case "alias":
            return seen.value
        case "registered":
            return ("registered", seen.value)
        case "derived":
            return pack(seen.value.detach())
        case "iterator":
            reason = f"the {type(seen.value).__name__} advances during training"
        case "keys":
            place, reason = place[:-1], "its keys or their order change during training"
        case "hooks":
            place, reason = place[:-1], "its hooks change during training; set them in create_model"
        case _:
            reason = f"a {type(seen.value).__name__} is set during training"
    raise _refusal(place, reason)


def _refusal(place: Place, reason: str) -> Unholdable:
    return Unholdable(f"`{spelled(place)}` cannot be saved in a checkpoint: {reason}")
