"""What a run's objects hold as Python data: attributes that change in training, kept by checkpoints.

Theory of operation. torch registers parameters and buffers; everything else that a module or an MLSpec keeps
(a temperature, a cached length, a list of past losses, a generator) is a plain attribute that no `state_dict`
holds. `Attributes` walks all that is reachable from named roots when a run is made, and notes a mark of what
each place holds. Objects are made anew by the same code on every worker, so only the difference counts:
`changed` walks again and returns the places whose marks differ, as data that `torch.load` reads with
`weights_only=True`; `restore` puts them into the objects of another worker. A place is the path of attribute
names, keys and indices that leads to it.

What can be held: None, numbers, text, bytes, tensors, arrays, generators of random numbers, containers of
these, and objects of classes written in Python, by their own attributes. What cannot: an object that was
replaced by one of another type or that was not there before, an iterator that moved on, a foreign object that
was replaced. Those raise Unholdable, so that a run never continues with other bits than it would have had.

Not looked into: classes, modules of code, functions other than by name, hooks, what a foreign object keeps
inside (a tokenizer written in Rust), and, below the MLSpec, objects of other people's packages.
"""

import hashlib
import io
import itertools
import random
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from rapidfire_cli.training import fingerprint

MODEL = "model"  # the root that the model is below

Place: TypeAlias = tuple[Any, ...]
State: TypeAlias = dict[Place, Any]

TREE = ("_parameters", "_buffers", "_modules")
HOOKS = frozenset(vars(nn.Module())) - {*TREE, "_non_persistent_buffers_set"}
"""What nn.Module keeps for itself; `training` is among it, which `training/state.py` keeps."""

ATOMS = (bool, int, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
CONTAINERS = (dict, OrderedDict, defaultdict, Counter, list, tuple, set, frozenset, deque)
GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
TENSORS = (Tensor, nn.Parameter, nn.Buffer)
HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement, or by an extension that does the same
CODE = (
    *(type, types.ModuleType, types.BuiltinFunctionType, types.MethodType),
    *(types.MappingProxyType, types.MethodWrapperType, types.WrapperDescriptorType),
)
OPAQUE = (
    "rapidfire_cli",
    "logging",
    "threading",
    "concurrent",
    "multiprocessing",
    "socket",
    "sqlite3",
    "weakref",
)
"""Packages whose objects lead to the state of the whole process, or are ours."""

OPEN = ("torch", "torchmetrics", "transformers", "peft")
"""Packages whose objects are looked into wherever they are met; those of others only below the model."""

DELETED = "deleted"
EXTRA = "get_extra_state()"  # stands for an attribute in the place of what a module says of itself
AT = "#"  # before the position of a key that no file could hold


class Unholdable(Exception):  # noqa: N818 - a property of the state
    """What the place holds cannot be kept by a checkpoint; the argument says place and reason."""


class Seen(NamedTuple):
    """What a place held: a mark that is equal while it is unchanged, and the value itself."""

    kind: str  # data, object, alias, tensor of the model, code, iterator
    mark: Any
    value: Any


class Attributes:
    """The attributes of everything below `roots`, and what they were when the run was made.

    `registered` are the tensors that a checkpoint holds anyway, by name: they are referred to, not held.
    """

    def __init__(self, roots: Mapping[str, object], model: nn.Module) -> None:
        self._roots = roots
        self._model = model
        self._before = {
            place: seen
            if seen.kind in ("code", "derived")
            else seen._replace(value=None)  # an id lasts no longer
            for place, seen in self._walk().items()
        }

    def changed(self) -> State:
        """Every place whose content is not what it was, as tensors and plain data. Raises Unholdable."""
        now, pack = self._walk(), _Packing()
        state: State = {}
        for place, seen in now.items():
            if not _same(self._before.get(place), seen):
                state[place] = (seen.kind, pack(place, seen, self._before.get(place)))
        gone: list[Place] = []
        for place in self._before:
            owners = [place[:end] for end in range(1, len(place))]
            if place not in now and not any(owner in state or owner in gone for owner in owners):
                gone.append(place)
        return state | dict.fromkeys(reversed(gone), (DELETED, None))  # the last of a list first

    def restore(self, state: State) -> None:
        """Put back what `changed` returned, into objects that were just made by the same code.

        Tensors take the place of those that are there, so that those which shared memory share it again.
        """
        unpack, tensors = _Unpacking(self._model), registered(self._model)
        for place, seen in self._before.items():  # a buffer may be another tensor by now
            if seen.kind == "registered" and place not in state:
                self._put(place, tensors[seen.mark])
        for place, (kind, packed) in state.items():
            if kind == DELETED:
                self._delete(place)
            else:
                self._put(place, self._find(packed) if kind == "alias" else unpack(packed))

    def _put(self, place: Place, value: Any) -> None:
        owner, key = self._find(place[:-1]), place[-1]
        present = _get(owner, key, None)
        if isinstance(value, _Generated) and type(present).__name__ == value.kind:
            _set_generator(present, value.state)
        elif isinstance(value, _Generated):
            self._put(place, _new_generator(value))
        elif isinstance(present, nn.Parameter) and isinstance(value, Tensor):
            present.data = value.data.to(present.device)
            present.requires_grad_(value.requires_grad)
        elif isinstance(owner, tuple) and isinstance(key, int):
            changed = [value if at == key else each for at, each in enumerate(owner)]
            made = type(owner)(*changed) if hasattr(owner, "_fields") else tuple(changed)
            self._put(place[:-1], made)
        else:
            _set(owner, key, value)

    def _delete(self, place: Place) -> None:
        owner, key = self._find(place[:-1]), place[-1]
        if isinstance(owner, tuple) and isinstance(key, int):
            self._put(place[:-1], owner[:key])
        else:
            _delete(owner, key)

    def _walk(self) -> dict[Place, Seen]:
        walk = _Walk(self._model)
        for name, root in self._roots.items():
            walk.visit((name,), root)
        return walk.found

    def _find(self, place: Place) -> Any:
        name, *steps = place
        found: Any = self._roots[name]
        for step in steps:
            found = _get(found, step, None)
        return found


class _Walk:
    """A walk over everything reachable, each object once, where it is met first."""

    def __init__(self, model: nn.Module) -> None:
        self.found: dict[Place, Seen] = {}
        self._places: dict[int, Place] = {}
        self._tree = {id(module) for module in model.modules()}
        self._registered = {
            id(tensor): name for name, tensor in registered(model).items() if tensor is not None
        }

    def visit(self, place: Place, value: Any) -> None:
        """Note what the place holds, and what is below it."""
        if (name := self._registered.get(id(value))) is not None:
            self.found[place] = Seen("registered", name, name)
        elif isinstance(value, Tensor) and value.grad_fn is not None:
            self.found[place] = Seen("derived", id(value), value)
        elif place[-1] == EXTRA:  # what it says may stay the same while it changes
            self.found[place] = Seen("data" if _mark(value) is not None else "code", _UNKNOWN, value)
        elif (mark := _mark(value)) is not None:
            self.found[place] = Seen("data", mark, value)
        elif (met := self._places.get(id(value))) is not None:
            self.found[place] = Seen("alias", met, met)
        else:
            self._places[id(value)] = place
            self._look_into(place, value)

    def _look_into(self, place: Place, value: Any) -> None:
        code = _is_code(value, below_model=place[0] == MODEL)
        if code and isinstance(value, Iterator) and not isinstance(value, io.IOBase):
            self.found[place] = Seen("iterator", _position(value), value)
        elif isinstance(value, types.FunctionType):
            self.found[place] = Seen("code", (value.__module__, value.__qualname__), value)
        elif code:
            self.found[place] = Seen("code", id(value), value)
        else:
            lasting = isinstance(value, nn.Module)  # lazy modules become those of another class
            name = "" if lasting else f"{type(value).__module__}.{type(value).__qualname__}"
            self.found[place] = Seen("object", name, value)
            for key, below in self._parts(value):
                self.visit((*place, key), below)

    def _parts(self, value: Any) -> Iterator[tuple[Any, Any]]:
        if isinstance(value, nn.Module):
            skipped = HOOKS | {"_parameters", "_buffers"} if id(value) in self._tree else HOOKS
            speaks = type(value).get_extra_state is not nn.Module.get_extra_state
            for key, below in vars(value).items():
                if key not in skipped and not (speaks and key not in TREE and _mark(below) is None):
                    yield key, below
            if speaks:
                yield EXTRA, value.get_extra_state()
        elif isinstance(value, dict):
            for at, (key, below) in enumerate(value.items()):
                yield (key if isinstance(key, str | int) else (AT, at)), below
        elif isinstance(value, list | tuple | deque):
            yield from enumerate(value)
        yield from _own(value)


def registered(model: nn.Module) -> dict[str, Tensor | None]:
    """Every parameter and buffer of the model, by dotted name; None where there is none yet."""
    return {
        f"{prefix}.{name}" if prefix else name: tensor
        for prefix, module in model.named_modules(remove_duplicate=True)
        for name, tensor in itertools.chain(module._parameters.items(), module._buffers.items())
    }


def _own(value: Any) -> Iterator[tuple[str, Any]]:
    """An object's own attributes, of a module only what was not yielded before."""
    if isinstance(value, nn.Module):
        return
    yield from getattr(value, "__dict__", {}).items()
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name, getattr(value, name)


def _is_code(value: Any, below_model: bool) -> bool:
    """Whether the value is not an object of a class written in Python, or not one to look into."""
    cls: Any = type(value)
    if isinstance(value, nn.Module) or cls in CONTAINERS:
        return False
    return isinstance(value, CODE) or not _in_python(cls) or not (below_model or _is_open(cls))


@cache
def _in_python(cls: Any) -> bool:
    """Whether instances of the class have attributes that Python sees, and lead nowhere else."""
    heap = bool(cls.__flags__ & HEAP_TYPE)
    own = any("__dict__" in vars(one) or "__slots__" in vars(one) for one in cls.__mro__[:-1])
    return heap and own and cls.__module__.partition(".")[0] not in OPAQUE


@cache
def _is_open(cls: Any) -> bool:
    """Whether the class is the user's own, or one of a package that models are made of."""
    return cls.__module__.partition(".")[0] in OPEN or fingerprint.is_users_own(cls.__module__)


# Marks


def _same(before: Seen | None, now: Seen) -> bool:
    if before is None or before.kind != now.kind:
        return False
    if now.kind == "code" and isinstance(now.mark, int):
        return before.value is now.value
    return bool(before.mark == now.mark) and now.mark is not _UNKNOWN


_UNKNOWN = object()
"""The mark of what may have changed at any time."""


def _mark(value: Any) -> Any:
    """What is equal while the value is unchanged; None where the value is not plain data."""
    kind = type(value)
    if kind in ATOMS:
        return kind, value
    if kind is float:
        return kind, value.hex()
    digest = hashlib.blake2b(digest_size=16)
    try:
        _feed(digest, value, [])
    except _NotData:
        return None
    except _Unhashable:
        return _UNKNOWN
    return digest.digest()


class _NotData(Exception):  # noqa: N818 - a property
    """Something in the value is not plain data."""


class _Unhashable(Exception):  # noqa: N818 - a property
    """The value is data whose bytes cannot be looked at."""


def _feed(digest: Any, value: Any, above: list[int]) -> None:
    """Feed the digest with the value's type and content; `above` are the containers that it lies in."""
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
    elif isinstance(value, GENERATORS):
        if above:
            raise _NotData  # a generator stays the object that it is, so it has a place of its own
        _feed(digest, _generator_state(value), [id(value)])
    elif kind in (range, slice):
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
        raise _NotData  # a parameter stays the object that it is, so it has a place of its own
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


def _position(iterator: Iterator[Any]) -> Any:
    """Where an iterator stands, as far as Python lets us look."""
    if isinstance(iterator, types.GeneratorType):
        frame = iterator.gi_frame
        return (frame.f_lasti, _mark(list(frame.f_locals.values())) or _UNKNOWN) if frame else "over"
    try:
        return repr(iterator.__reduce__())
    except Exception:
        return _UNKNOWN


# Data that weights_only reads, and back


class _Packing:
    """Values as tensors and plain data; one list that stands in two places stays one."""

    def __init__(self) -> None:
        self._packed: dict[int, Any] = {}
        self._alive: list[Any] = []

    def __call__(self, place: Place, seen: Seen, before: Seen | None) -> Any:
        match seen.kind:
            case "data":
                return self._pack(seen.value)
            case "alias":
                return seen.value
            case "registered":
                return ("registered", seen.value)
            case "derived":
                return self._pack(seen.value.detach())
            case "iterator":
                reason = f"the {type(seen.value).__name__} moves on in training"
            case _:
                reason = f"a {type(seen.value).__name__} is put there in training"
        raise Unholdable(f"`{spelled(place)}` cannot be kept by a checkpoint: {reason}")

    def _pack(self, value: Any) -> Any:
        kind = type(value)
        if kind in ATOMS or kind in (float, complex):
            return value
        if kind in TENSORS:
            return value
        if id(value) not in self._packed:
            self._alive.append(value)
            self._packed[id(value)] = self._compound(value)
        return self._packed[id(value)]

    def _compound(self, value: Any) -> Any:
        kind = type(value).__name__
        if isinstance(value, np.ndarray | np.generic):
            array = np.ascontiguousarray(value)
            return ("ndarray", str(array.dtype), array.shape, array.tobytes(), kind)
        if isinstance(value, GENERATORS):
            return ("generator", kind, self._pack(_generator_state(value)))
        if isinstance(value, Enum):
            return ("enum", type(value).__module__, type(value).__qualname__, value.name)
        if isinstance(value, range | slice):
            return (kind, value.start, value.stop, value.step)
        if isinstance(value, dict):
            factory = getattr(value, "default_factory", None)
            named = getattr(factory, "__name__", None)
            return (kind, [(self._pack(key), self._pack(each)) for key, each in value.items()], named)
        limit = value.maxlen if isinstance(value, deque) else None
        return (kind, [self._pack(each) for each in value], limit)


class _Unpacking:
    """The inverse of _Packing."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
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
                return registered(self._model)[name]
            case ("ndarray", dtype, shape, content, kind):
                array = np.frombuffer(bytearray(content), dtype=dtype).reshape(shape)
                return array if kind == "ndarray" else array[()]
            case ("generator", kind, state):
                return _Generated(kind, self(state))
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


class _Generated(NamedTuple):
    """A random generator's kind and state, to be put into the generator that is there."""

    kind: str
    state: Any


def _enum(module: str, qualname: str) -> Any:
    import pkgutil

    return pkgutil.resolve_name(f"{module}:{qualname}")


def _generator_state(generator: Any) -> Any:
    match generator:
        case torch.Generator():
            return generator.get_state()
        case np.random.Generator():
            return generator.bit_generator.state
        case np.random.RandomState():
            return generator.get_state(legacy=False)
    return generator.getstate()


def _set_generator(generator: Any, state: Any) -> None:
    match generator:
        case torch.Generator():
            generator.set_state(state)
        case np.random.Generator():
            generator.bit_generator.state = state
        case np.random.RandomState():
            generator.set_state(state)
        case _:
            generator.setstate(state)


def _new_generator(told: _Generated) -> Any:
    match told.kind:
        case "Generator" if isinstance(told.state, Tensor):
            made: Any = torch.Generator()
        case "Generator":
            made = np.random.Generator(getattr(np.random, told.state["bit_generator"])())
        case "RandomState":
            made = np.random.RandomState()
        case _:
            made = random.Random()
    _set_generator(made, told.state)
    return made


# Places


def _get(owner: Any, key: Any, missing: Any) -> Any:
    if isinstance(owner, nn.Module):
        return vars(owner).get(key, missing)
    if isinstance(owner, dict):
        return owner.get(_key(owner, key), missing)
    if isinstance(owner, list | tuple | deque) and isinstance(key, int):
        return owner[key] if key < len(owner) else missing
    return getattr(owner, key, missing)


def _set(owner: Any, key: Any, value: Any) -> None:
    if key == EXTRA:
        owner.set_extra_state(value)
    elif isinstance(owner, nn.Module):
        vars(owner)[key] = value
    elif isinstance(owner, dict):
        owner[_key(owner, key)] = value
    elif isinstance(owner, list) and key == len(owner):
        owner.append(value)
    elif isinstance(owner, list | deque) and isinstance(key, int):
        owner[key] = value
    else:
        object.__setattr__(owner, key, value)


def _key(owner: dict[Any, Any], key: Any) -> Any:
    """The key that a place's step stands for."""
    if isinstance(key, tuple) and key[0] == AT and key not in owner:
        return next(itertools.islice(owner, key[1], None))
    return key


def _delete(owner: Any, key: Any) -> None:
    if isinstance(owner, nn.Module):
        vars(owner).pop(key, None)
    elif isinstance(owner, dict):
        owner.pop(_key(owner, key), None)
    elif isinstance(owner, list | deque):
        if key < len(owner):
            del owner[key]
    else:
        object.__delattr__(owner, key)


def spelled(place: Place) -> str:
    """The place as a person would write it: `model.layers.0.temperature`."""
    return ".".join(str(step) for step in place if step not in TREE)
