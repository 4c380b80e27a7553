"""Places of plain attributes: the path of attribute names, keys and indices that leads to a value."""

import itertools
from collections import deque
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from torch import nn

TREE: Final = ("_parameters", "_buffers", "_modules")
EXTRA: Final = (
    "get_extra_state()"  # used in a place instead of an attribute: the result of the module's method
)
AT: Final = "#"  # before the position of a key that a file cannot hold

Place: TypeAlias = tuple[Any, ...]


def get(owner: Any, key: Any, missing: Any) -> Any:
    """Return what a step from the owner leads to, or `missing`."""
    if isinstance(owner, nn.Module):
        return vars(owner).get(key, missing)
    if isinstance(owner, dict):
        return owner.get(_key(owner, key), missing)
    if isinstance(owner, list | tuple | deque) and isinstance(key, int):
        return owner[key] if key < len(owner) else missing
    return getattr(owner, key, missing)


def put(owner: Any, key: Any, value: Any) -> None:
    """Set what a step from the owner leads to."""
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
    """Return the key that a step of a place refers to."""
    if isinstance(key, tuple) and key[0] == AT and key not in owner:
        return next(itertools.islice(owner, key[1], None))
    return key


def delete(owner: Any, key: Any) -> None:
    """Delete what a step from the owner leads to, if it is there."""
    if isinstance(owner, nn.Module):
        vars(owner).pop(key, None)
    elif isinstance(owner, dict):
        owner.pop(_key(owner, key), None)
    elif isinstance(owner, list | deque):
        if key < len(owner):
            del owner[key]
    else:
        object.__delattr__(owner, key)


def own(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of an object; none of a module, whose attributes `attributes` chooses."""
    if isinstance(value, nn.Module):
        return
    yield from getattr(value, "__dict__", {}).items()
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name, getattr(value, name)


def spelled(place: Place) -> str:
    """The place in a message: `model.layers.0.temperature`."""
    return ".".join(str(step) for step in place if step not in TREE)
