"""A fact as plain data, the same in the journal's events and in what `fit --output jsonl` prints."""

import json
import re
from dataclasses import fields
from functools import cache
from typing import Any, cast

from rapidfire_cli.engine.messages import by_split
from rapidfire_cli.engine.ports import Fact
from rapidfire_cli.manifest import codec
from rapidfire_cli.stopping.decision import Verdict
from rapidfire_cli.terms import Plain, Run, spoken

PLAIN = frozenset({int, str, bool, type(None)})


def kind(fact: Fact) -> str:
    """The fact's name in snake case: `epoch_ended`."""
    return _snake(type(fact).__name__)


def body(fact: Fact | Verdict) -> dict[str, Plain]:
    """The fact's fields; metrics by split and name, NaN and the infinities by name."""
    names = _names(type(fact))  # type: ignore[arg-type] # mypy: a class may lack a hash
    plain: dict[str, Plain] = {}
    for name in names:
        value = getattr(fact, name)
        plain[name] = value if type(value) in PLAIN else _plain(name, value)
    return plain


@cache
def _names(kind: type[Fact | Verdict]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@cache
def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _plain(name: str, value: Any) -> Plain:
    match value:
        case tuple() if name == "metrics":
            splits = by_split(value).items()
            return {
                split: {metric: spoken(number) for metric, number in named.items()} for split, named in splits
            }
        case tuple():
            return [body(item) if isinstance(item, Verdict) else item for item in value]
        case float():
            return spoken(value)
        case Run():
            return cast("dict[str, Plain]", json.loads(codec.write(value)))
    plain: Plain = value
    return plain
