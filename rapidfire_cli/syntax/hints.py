"""Hints: what to write instead, where that can be inferred."""

from collections.abc import Mapping
from typing import assert_never

from rapidfire_cli.problems import did_you_mean
from rapidfire_cli.shapes import (
    FLAG,
    AnyOf,
    Choice,
    Free,
    Integer,
    Items,
    Number,
    OrNull,
    Record,
    Shape,
    Text,
    Variants,
    chosen,
)
from rapidfire_cli.syntax.keys import (
    CONFIG,
    EARLY_STOPPING,
    EXECUTION,
    FILE,
    GRIDSEARCH,
    HYPERBAND,
    LR_SCHEDULER,
    OPTIMIZER,
    PBT,
    RANDOMSEARCH,
    SEARCH,
    SHA,
    SINGLE,
    TRAIN,
)
from rapidfire_cli.syntax.nodes import Node, Scalar
from rapidfire_cli.syntax.scalars import resolve

_CLOSE = 0.7  # assumed: `dropout` belongs to a model and is not a typo of `drop_last` (0.63)
_SHORT = 40  # assumed: a longer text is not a mistyped number or name
_HOMES: Mapping[str, Record | Variants] = {
    "at the top of the file": FILE,
    "in `execution`": EXECUTION,
    "in `train`": TRAIN,
    "beside `train`": CONFIG,
    "in `gridsearch` or `randomsearch`": GRIDSEARCH,
    "in `randomsearch` or `sha`": RANDOMSEARCH,
    "in any group": SINGLE,
    "in `sha` or `hyperband`": HYPERBAND,
    "in `sha`": SHA,
    "in `search`": SEARCH,
    "in `pbt`": PBT,
    "in `early_stopping`": EARLY_STOPPING,
    "in `lr_scheduler`": LR_SCHEDULER,
    "in `optimizer`": OPTIMIZER,
}
_SPOKEN = {
    **dict.fromkeys(("yes", "on", "y", "true"), "true"),
    **dict.fromkeys(("no", "off", "n", "false"), "false"),
}


def of_value(shape: Shape, node: Node) -> str:
    """The hint for a node that does not match its shape; empty when there is none."""
    match shape, node:
        case ((OrNull(inner) | AnyOf((Record() as inner, *_))), _):
            return of_value(inner, node)
        case _, Scalar(None):
            return "give it a value, or remove the key"
        case ((Integer() | AnyOf((Choice(), Integer()))), Scalar(float(value))) if value.is_integer():
            return f"write {int(value)}"
        case Text(), Scalar(int() | float() as number) if not isinstance(number, bool):
            return "put it in quotes, so that it is a string"
        case Items(), Scalar(str(text)) if len(text) < _SHORT:
            return f"write [{text}]"
        case _, Scalar(str(text)) if len(text) < _SHORT:
            return _of_text(shape, text)
    return ""


def of_unknown_key(key: str, shape: Record, among: Variants | None = None) -> str:
    """The hint for an unknown key: where it belongs, the nearest known key, or the record's own hint."""
    if len(key) > _SHORT:
        return shape.hint
    for word, form in among.forms().items() if among else ():
        if key in form.record.keys:
            return f"`{key}` belongs to `{among.by}: {word}`" if among else ""
    home = next((place for place, record in _HOMES.items() if key in _keys(record)), None)
    return f"`{key}` belongs {home}" if home else did_you_mean(key, shape.keys, _CLOSE) or shape.hint


def _keys(shape: Record | Variants) -> Mapping[str, Shape]:
    return shape.keys if isinstance(shape, Record) else chosen(shape, None).keys


def _of_text(shape: Shape, text: str) -> str:
    match shape:
        case Integer() | Number():
            return _number(text)
        case Choice() if shape == FLAG:
            flag = _SPOKEN.get(text.lower())
            return f"write {flag}" if flag else ""
        case Choice(words):
            return did_you_mean(text, (word for word in words if isinstance(word, str)))
        case Record(keys) if "name" in keys:
            return f"write {{name: {text}}}"
        case Text():
            return shape.hint
        case Variants(by, forms):
            return f"write {{{by}: {text}, …}}" if text in forms() else did_you_mean(text, forms())
        case AnyOf((Choice() as inner, Integer())):
            return _of_text(inner, text) or _number(text)
        case AnyOf() | OrNull() | Items() | Record() | Free():
            return ""
    assert_never(shape)


def _number(text: str) -> str:
    digits = text.replace("_", "").replace(",", "").strip()
    try:
        number = resolve(digits)
    except OverflowError:
        return ""
    return "" if isinstance(number, bool | str | None) else f"write {digits}"
