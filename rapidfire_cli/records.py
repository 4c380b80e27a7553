"""Convert frozen records to plain data and back, for pipes, snapshots and files.

A record becomes a dict with its class's name under `is`, a tuple a JSON list; lists, sets and dicts say what
they are. Whoever reads says which classes may come.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any

SIMPLE = frozenset({int, float, str, bool, type(None)})


def to_plain(value: Any) -> Any:
    """The record and its contents as data that `json.dumps` accepts."""
    kind = type(value)
    if kind in SIMPLE:
        return value
    if kind is tuple:
        return [to_plain(item) for item in value]
    if (names := _names(kind)) is not None:  # type: ignore[arg-type] # mypy: a class may lack a hash
        plain = {"is": kind.__name__}
        for name in names:  # most values are simple: a call for each would take as long as everything else
            item = getattr(value, name)
            plain[name] = item if type(item) in SIMPLE else to_plain(item)
        return plain
    match value:
        case StrEnum():
            return str(value)
        case list():
            return {"list": [to_plain(item) for item in value]}
        case set():
            return {"set": [to_plain(item) for item in sorted(value)]}
        case dict():
            return {"pairs": [[to_plain(key), to_plain(item)] for key, item in value.items()]}
    return value


@cache
def _names(kind: type) -> tuple[str, ...] | None:
    """The fields of a record's class, None for anything else."""
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else None


def from_plain(value: Any, kinds: Mapping[str, Any]) -> Any:
    """The inverse of `to_plain`. Raises KeyError or TypeError on anything else."""
    if type(value) in SIMPLE:
        return value
    if type(value) is list:
        return tuple([from_plain(item, kinds) for item in value])
    if "is" in value:
        kind, named = kinds[value["is"]], {}
        for key, item in value.items():
            named[key] = item if type(item) in SIMPLE else from_plain(item, kinds)
        del named["is"]
        return kind(**named)
    match value:
        case {"list": items}:
            return [from_plain(item, kinds) for item in items]
        case {"set": items}:
            return {from_plain(item, kinds) for item in items}
        case {"pairs": pairs}:
            return {from_plain(key, kinds): from_plain(item, kinds) for key, item in pairs}
        case dict():
            raise KeyError("is")
    return value


def by_name(kinds: Iterable[type]) -> dict[str, type]:
    """The classes by the names that `to_plain` gives them."""
    return {kind.__name__: kind for kind in kinds}
