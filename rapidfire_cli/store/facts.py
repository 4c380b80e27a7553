"""A fact as plain data and back: the same in the journal's events and in what `fit --output jsonl` prints."""

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any, cast, get_args

from rapidfire_cli.facts import Fact, Metric, Verdict, by_split
from rapidfire_cli.manifest import codec
from rapidfire_cli.records import from_plain, to_plain
from rapidfire_cli.requests import KINDS as REQUESTED
from rapidfire_cli.requests import Answer, Request
from rapidfire_cli.terms import Plain, Run, RunState, spoken

PLAIN = frozenset({int, str, bool, type(None)})


KINDS: Mapping[str, type[Fact]] = {
    re.sub(r"(?<!^)(?=[A-Z])", "_", each.__name__).lower(): each for each in get_args(Fact)
}
"""The kinds of facts by name: `epoch_ended`."""

_NAMES = {each: name for name, each in KINDS.items()}


def kind(fact: Fact) -> str:
    """The name of the fact's kind."""
    return _NAMES[type(fact)]


def body(fact: Fact | Verdict) -> dict[str, Plain]:
    """The fact's fields; metrics by split and name, NaN and the infinities by name."""
    names = _names(type(fact))  # type: ignore[arg-type] # mypy: a class may lack a hash
    plain: dict[str, Plain] = {}
    for name in names:
        value = getattr(fact, name)
        plain[name] = value if type(value) in PLAIN else _plain(name, value)
    return plain


def fact(kind: str, body: Mapping[str, Any]) -> Fact:
    """The fact whose `kind` and `body` these are."""
    return KINDS[kind](**{name: _value(name, value) for name, value in body.items()})


@cache
def _names(kind: type[Fact | Verdict]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _plain(name: str, value: Any) -> Plain:
    match value:
        case tuple() if name == "metrics":
            splits = by_split(value).items()
            return {
                split: {metric: spoken(number) for metric, number in named.items()} for split, named in splits
            }
        case tuple():
            return [_item(item) for item in value]
        case float():
            return spoken(value)
        case Run():
            return cast("dict[str, Plain]", json.loads(codec.write(value)))
        case Request():
            return cast("dict[str, Plain]", to_plain(value))
    plain: Plain = value
    return plain


def _item(item: Any) -> Plain:
    match item:
        case Verdict():
            return body(item)
        case tuple():
            return [*item]
        case Answer():
            return cast("dict[str, Plain]", to_plain(item))
    plain: Plain = item
    return plain


def _value(name: str, plain: Any) -> Any:
    match name:
        case "request" | "answers":
            return from_plain(plain, REQUESTED)
        case "metrics":
            return tuple(
                Metric(split, metric, float(value))
                for split, named in plain.items()
                for metric, value in named.items()
            )
        case "verdicts":
            return tuple(Verdict(**{**each, "value": _number(each["value"])}) for each in plain)
        case "offsets":
            return tuple((run, epochs) for run, epochs in plain)
        case "by" | "run" if isinstance(plain, dict):
            [run] = codec.read(json.dumps(plain), "")
            return run
        case "state":
            return RunState(plain)
        case "cut" | "seconds":
            return _number(plain)
    return tuple(plain) if isinstance(plain, list) else plain


def _number(value: float | str | None) -> float | None:
    return None if value is None else float(value)
