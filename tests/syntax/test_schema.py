"""The JSON Schema says what the parser says, as far as a schema can."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from rapidfire_cli.problems import Refusal
from rapidfire_cli.syntax.extends import Source
from rapidfire_cli.syntax.nodes import Alternatives, Interval, Mapping, Node, Scalar, Sequence
from rapidfire_cli.syntax.parser import parse
from rapidfire_cli.syntax.readers import read
from rapidfire_cli.syntax.schema import schema
from tests.shares import share

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(path for path in (ROOT / "configs").iterdir() if path.suffix in (".yaml", ".toml", ".json"))
CATALOGUE = ROOT / "rapidfire_cli" / "catalogue"
CASES = sorted(CATALOGUE.glob("[EW]*/experiment.*"))
SEEN = {"E108", "E116", *(f"E20{n}" for n in range(1, 9)), "E209", "E301", "E302", "E304", "E306"}
SEEN |= {"E307", "E308"}
"""The codes whose cases a schema can refuse."""

STRICT, EDITORS = (Draft202012Validator(schema(tagged)) for tagged in (False, True))
TRAIN = {"epochs": 1, "batch_size": 8, "optimizer": {"name": "Adam"}}


def plain(node: Node, tagged: bool = True) -> Any:
    """The node as JSON writes it: value sets as one-key tables, or as what their tags mark."""
    match node:
        case Scalar(value):
            return value
        case Sequence(items):
            return [plain(item, tagged) for item in items]
        case Mapping(entries):
            return {entry.key: plain(entry.node, tagged) for entry in entries}
        case Alternatives(items, _, label):
            values = [plain(item, tagged) for item in items]
            tag, inner = ("!list", values) if label is None else ("!zip", {"with": label, "values": values})
        case Interval(parts):
            tag, inner = "!range", plain(parts, tagged)
    return {tag: inner} if tagged else inner


def data(path: Path, tagged: bool = True) -> Any:
    return plain(read(path.read_bytes(), path.name).root, tagged)


def parses(path: Path) -> bool:
    def beside(name: str, _file: str) -> Source:
        return Source(name, path.with_name(name).read_bytes())

    try:
        parse(path.read_bytes(), path.name, opener=beside)
    except Refusal:
        return False
    return True


@pytest.mark.no_cover
@pytest.mark.parametrize("tagged", share([True, False], 2))
def test_it_is_a_schema(tagged):
    Draft202012Validator.check_schema(schema(tagged))
    json.dumps(schema(tagged), allow_nan=False)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_file_in_configs_is_valid_in_every_notation(path):
    assert [error.message for error in STRICT.iter_errors(data(path))] == []
    assert [error.message for error in EDITORS.iter_errors(data(path))] == []
    assert [error.message for error in EDITORS.iter_errors(data(path, tagged=False))] == []


@pytest.mark.parametrize("path", [path for path in CASES if parses(path)], ids=lambda path: path.parent.name)
def test_what_the_parser_takes_is_valid(path):
    assert [error.message for error in STRICT.iter_errors(data(path))] == []


@pytest.mark.parametrize("code", sorted(SEEN & {path.parent.name for path in CASES}))
def test_what_a_schema_can_say_is_refused(code):
    (path,) = (CATALOGUE / code).glob("experiment.*")
    try:
        content = data(path)
    except Refusal:
        content = None
    assert not STRICT.is_valid(content)


@pytest.mark.parametrize("sets", [{"!list": [1, 2]}, {"!range": [1, 4]}, {"!range": {"start": 1, "end": 4}}])
def test_a_value_set_stands_where_its_generator_takes_it(sets):
    def valid(word: str, **beside: Any) -> bool:
        return STRICT.is_valid({word: {**beside, "train": {**TRAIN, "batch_size": sets}}})

    listed = "!list" in sets
    rungs = {"num_runs": 2, "min_epochs": 1, "max_epochs": 2, "reduction_factor": 2}
    assert not valid("config")
    assert valid("gridsearch") is listed
    assert valid("randomsearch", num_runs=2)
    assert valid("sha", metric="loss", direction="min", **rungs) is not listed


def test_what_extends_another_file_may_leave_things_to_it():
    assert STRICT.is_valid({"extends": "base.yaml", "gridsearch": {"train": {"epochs": 3}}})
    assert STRICT.is_valid({"extends": ["base.yaml", "other.toml"], "seed": 7})
    assert not STRICT.is_valid({"gridsearch": {"train": {"epochs": 3}}})
    assert not STRICT.is_valid({"seed": 7})
    assert not STRICT.is_valid({"extends": "base.yaml", "gridsearch": {}, "config": {}})


def test_alternatives_that_are_mappings_need_what_mappings_need():
    def searched(*optimizers: Any) -> dict[str, Any]:
        return {"gridsearch": {"train": {**TRAIN, "optimizer": {"!list": [*optimizers]}}}}

    assert STRICT.is_valid(searched({"name": "Adam"}, {"name": "SGD", "args": {"lr": {"!list": [1, 2]}}}))
    assert not STRICT.is_valid(searched({"name": "Adam"}, {"args": {}}))
