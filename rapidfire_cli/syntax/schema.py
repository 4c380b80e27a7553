"""The grammar as JSON Schema 2020-12, made from the same shapes that files are checked against.

It says less than the parser: nothing of types within a list, of what a range means, of rungs. But what it
refuses, the parser refuses.
"""

from collections.abc import Iterable, Mapping
from typing import assert_never
from urllib.parse import quote

from rapidfire_cli.shapes import (
    AnyOf,
    Choice,
    Form,
    Free,
    Integer,
    Items,
    Number,
    OrNull,
    Record,
    Shape,
    Text,
    Variants,
    expected,
)
from rapidfire_cli.syntax.keys import CONFIG, EXTENDS, FILE, GENERATORS, GROUP_KEYS, RANGE
from rapidfire_cli.syntax.metrics import NAMED_METRICS
from rapidfire_cli.terms import Plain

Schema = dict[str, Plain]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TAKES = {
    "config": (),
    "gridsearch": ("!list", "!zip"),
    "randomsearch": ("!list", "!zip", "!range"),
    "sha": ("!range",),
    "hyperband": ("!list", "!zip", "!range"),
    "search": ("!list", "!zip", "!range"),
    "pbt": ("!list", "!zip", "!range"),
}
"""The value sets that each generator takes."""

NULL: Schema = {"anyOf": [{"type": "null"}, {"const": {"!null": True}}]}
SCALAR: Schema = {"type": ["boolean", "number", "string"]}
MAPPING: Schema = {
    "type": "object",
    "not": {"anyOf": [{"required": [tag]} for tag in ("!list", "!zip", "!range", "!null")]},
}
"""A mapping that is no value set."""


def schema(tagged: bool) -> Schema:
    """The schema of an experiment file.

    `tagged` is for editors of YAML, which look at what a tag marks and not at the tag: a value set may then
    also stand as its bare list or mapping.
    """
    grammar = _Grammar(tagged)
    keys = {key: grammar.allowed(shape, f"file.{key}", ()) for key, shape in FILE.keys.items()}
    group = _ref("group")
    groups: Schema = {"anyOf": [group, {"type": "array", "minItems": 1, "items": _ref("groups")}]}
    opened = {word: grammar.opened(word) for word in GENERATORS}
    needed: Schema = {word: grammar.needed(_whole(beside), word) for word, beside in GENERATORS.items()}
    extends: Schema = {**_text(EXTENDS), "description": expected(EXTENDS)}
    return {
        "$schema": DIALECT,
        "title": "rapidfire experiment",
        "type": "object",
        "properties": {
            **keys,
            "extends": {"anyOf": [extends, {"type": "array", "minItems": 1, "items": extends}]},
            "config_group": _ref("groups"),
            **opened,
        },
        "additionalProperties": False,
        "oneOf": [*map(_has, GROUP_KEYS), {**_has("extends"), "not": {"anyOf": [*map(_has, GROUP_KEYS)]}}],
        "if": {"not": _has("extends")},  # a file that extends another may leave required keys to it
        "then": {"properties": {"config_group": _ref("whole groups"), **needed}},
        "$defs": {
            **grammar.definitions,
            "group": {**_closed(opened), "minProperties": 1, "maxProperties": 1},
            "groups": groups,
            "whole groups": {
                "if": {"type": "array"},
                "then": {"items": _ref("whole groups")},
                "else": {"properties": needed},
            },
        },
    }


class _Grammar:
    """Translates shapes to schemas; every place in a generator's config becomes a definition."""

    def __init__(self, tagged: bool) -> None:
        self.definitions: dict[str, Plain] = {"plain": _value("plain", ())}
        self._tagged = tagged

    def opened(self, word: str) -> Schema:
        """The schema of what follows the key that opens a group."""
        takes, beside = TAKES[word], GENERATORS[word]
        self.definitions[f"{word} value"] = _value(
            f"{word} value", self._sets(takes, _ref(f"{word} value"), {"type": "number"})
        )
        config = _with_metrics_inside(CONFIG)
        sections = {key: self.place(shape, f"{word}.{key}", takes) for key, shape in config.keys.items()}
        arguments = {key: self.allowed(shape, f"{word}.{key}", ()) for key, shape in beside.keys.items()}
        twice: Schema = {**_has(NAMED_METRICS), "properties": {"train": _has(NAMED_METRICS)}}
        self.definitions[word] = {**_closed({**arguments, **sections}), "not": twice}
        return _ref(word)

    def place(self, shape: Shape, name: str, takes: tuple[str, ...]) -> Schema:
        """A shape, or a value set of it."""
        if not takes:
            return self.allowed(shape, name, takes)
        if name not in self.definitions:
            self.definitions[name] = {}  # until it is known, for those that hold themselves
            ends = shape.shape if isinstance(shape, OrNull) else shape
            bounds = self.allowed(ends, name, ()) if isinstance(ends, Integer | Number) else None
            sets = self._sets(takes, _ref(name), bounds)
            self.definitions[name] = _any(self.allowed(shape, name, takes), *sets)
        return _ref(name)

    def allowed(self, shape: Shape, name: str, takes: tuple[str, ...]) -> Schema:
        """The shape itself."""
        match shape:
            case Integer(least, below):
                return _said({"type": "integer", "minimum": least, "exclusiveMaximum": below})
            case Number(above, least_number, most):
                bounds: Schema = {"exclusiveMinimum": above, "minimum": least_number, "maximum": most}
                return _said({"type": "number", **bounds})
            case Choice(words):
                return {"enum": [*words]}
            case Text():
                return {**_text(shape), "description": expected(shape)}
            case AnyOf(shapes):
                return _any(*(self.allowed(inner, name, takes) for inner in shapes))
            case OrNull(inner):
                return _any(self.allowed(inner, name, takes), NULL)
            case Items(inner, least):
                return _said(
                    {
                        "type": "array",
                        "items": self.place(inner, f"{name}[]", takes),
                        "minItems": least or None,
                    }
                )
            case Record(keys, required, free=free):
                known = {key: self.place(inner, f"{name}.{key}", takes) for key, inner in keys.items()}
                if not free:
                    return _closed(known)
                return {**_open(self._free(name, takes)), "properties": {**known}, "required": [*required]}
            case Free():
                return _open(self._free(name, takes))
            case Variants(by, forms):
                return _any(*(self._form(by, word, form, name) for word, form in forms().items()))
        assert_never(shape)

    def _form(self, by: str, word: str, form: Form, name: str) -> Schema:
        """A mapping whose key `by` holds the word, and what that key chooses."""
        known: Schema = {by: {"const": word, "description": form.about}}
        for key, shape in form.record.keys.items():
            said = {"description": form.notes[key], "default": form.defaults.get(key)}
            known[key] = {**self.allowed(shape, f"{name}.{key}", ()), **_said(said)}
        return _closed(known)

    def _free(self, name: str, takes: tuple[str, ...]) -> Schema:
        """Any value, or a value set of it."""
        word = name.partition(".")[0]
        return _ref(f"{word} value" if takes else "plain")

    def needed(self, shape: Shape, name: str) -> Schema:
        """The required keys of a mapping, or of each alternative of a value set in its place."""
        match shape:
            case OrNull(inner) | AnyOf((Record() as inner, *_)):
                return self.needed(inner, name)
            case Record(keys, required):
                inside = {
                    key: needed
                    for key, each in keys.items()
                    if (needed := self.needed(each, f"{name}.{key}"))
                }
                if inside or required:
                    return self._needed(name, {"required": [*required], "properties": {**inside}})
            case Variants(by, forms):
                each = [_when(by, word, form.record.required) for word, form in forms().items()]
                return self._needed(name, {"required": [by], "allOf": [*each]})
            case Integer() | Number() | Choice() | Text() | AnyOf() | Items() | Free():
                pass
            case _:
                assert_never(shape)
        return {}

    def _needed(self, name: str, here: Schema) -> Schema:
        each = _ref(f"whole {name}")
        listed: Schema = {"items": each}
        among: Schema = {"!list": listed, "!zip": {"properties": {"values": listed}}}
        self.definitions[f"whole {name}"] = {"if": MAPPING, "then": here, "else": {"properties": among}}
        return each

    def _sets(self, takes: tuple[str, ...], item: Schema, ends: Schema | None) -> list[Schema]:
        """Value sets of `item`; ranges only for numbers."""
        several: Schema = {"type": "array", "minItems": 1, "items": item}
        label: Schema = {"type": "string", "minLength": 1}
        marked: dict[str, Schema] = {
            "!list": {**several, "uniqueItems": True},
            "!zip": {**_closed({"with": label, "values": several}), "required": ["with", "values"]},
        }
        if ends is not None:
            marked["!range"] = _range(ends)
        kept = {tag: inner for tag, inner in marked.items() if tag in takes}
        tables: list[Schema] = [{**_closed({tag: inner}), "required": [tag]} for tag, inner in kept.items()]
        return [*tables, *kept.values()] if self._tagged else tables


def _range(ends: Schema) -> Schema:
    """Both ends alone, or named beside what else a range can say."""
    said = {key: _scalar(shape) for key, shape in RANGE.keys.items()}
    named: Schema = {**_closed({**said, "start": ends, "end": ends}), "required": [*RANGE.required]}
    positive: Schema = {"exclusiveMinimum": 0}
    logarithmic: Schema = {"properties": {"log": {"const": True}}, "required": ["log"]}
    alone: Schema = {"properties": {"start": positive, "end": positive, "step": False}}
    pair: Schema = {"type": "array", "minItems": 2, "maxItems": 2, "items": ends}
    return _any(pair, {**named, "if": logarithmic, "then": alone})


def _scalar(shape: Shape) -> Schema:
    return _Grammar(tagged=False).allowed(shape, "", ())


def _value(name: str, sets: Iterable[Schema]) -> Schema:
    """Any value of a free-form mapping."""
    return _any(SCALAR, NULL, {"type": "array", "items": _ref(name)}, _open(_ref(name)), *sets)


def _open(value: Schema) -> Schema:
    return {
        "type": "object",
        "propertyNames": {"pattern": "^[^!]|^$"},
        "additionalProperties": value,
    }


def _closed(properties: Mapping[str, Plain]) -> Schema:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False}


def _text(shape: Text) -> Schema:
    """A string that the pattern matches as a whole; the default pattern is any non-empty text."""
    if shape.pattern == Text("").pattern:
        return {"type": "string", "minLength": 1}
    return {"type": "string", "pattern": f"^(?:{shape.pattern})$"}


def _with_metrics_inside(config: Record) -> Record:
    """A config whose `train` may hold the named metrics, as the reference also shows it."""
    train = config.keys["train"]
    assert isinstance(train, Record)
    inside = train._replace(keys={**train.keys, NAMED_METRICS: config.keys[NAMED_METRICS]})
    return config._replace(keys={**config.keys, "train": inside})


def _whole(beside: Record) -> Record:
    """A generator's arguments and sections in one; `max_epochs` stands for `train.epochs`."""
    train = CONFIG.keys["train"]
    assert isinstance(train, Record)
    if "max_epochs" in beside.keys:
        train = train._replace(required=tuple(key for key in train.required if key != "epochs"))
    return Record({**beside.keys, **CONFIG.keys, "train": train}, (*beside.required, *CONFIG.required))


def _any(*schemas: Schema) -> Schema:
    return {"anyOf": [*schemas]}


def _said(schema: Mapping[str, Plain]) -> Schema:
    """The entries whose value is not None."""
    return {key: value for key, value in schema.items() if value is not None}


def _when(key: str, word: str, required: Iterable[str]) -> Schema:
    """These keys are required where that key holds the word."""
    return {"if": {"properties": {key: {"const": word}}}, "then": {"required": [*required]}}


def _has(key: str) -> Schema:
    return {"required": [key]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{quote(name)}"}
