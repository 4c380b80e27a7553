"""JSON to nodes: exactly JSON, every problem in place."""

import json

import pytest
from hypothesis import given

from rapidfire_cli.problems import Refusal, Span
from rapidfire_cli.syntax.nodes import Mapping, Sequence
from rapidfire_cli.syntax.readers import read
from tests.syntax.grammar import plain
from tests.syntax.reading import data


def problems(text: str) -> list[str]:
    try:
        found = read(text.encode(), "f.json").problems
    except Refusal as refusal:
        found = refusal.problems
    return [f"{problem.code} {problem.span.line}:{problem.span.column}" for problem in found if problem.span]


@given(plain)
def test_everything_that_json_says_is_understood(value: object):
    assert data(json.dumps(value), "f.json") == value
    assert data(json.dumps(value, indent=1, ensure_ascii=True), "f.json") == value


def test_escapes_of_two_halves_are_one_character():
    assert data('["\\ud83d\\ude00", "\\/", "\\u00e9"]', "f.json") == ["😀", "/", "é"]


def test_one_key_tables_stand_for_tags():
    assert data('[{"!list": [1, 2]}, {"!null": true}]', "f.json") == [("!list", [1, 2]), None]


def test_every_node_knows_its_place():
    tree = read(b'{\n  "a": [1, "xy"],\n  "b": {\n  }\n}', "f.json").root
    assert isinstance(tree, Mapping)
    a, b = tree.entries
    assert (a.at, a.node.span) == (Span("f.json", 2, 3, 3), Span("f.json", 2, 8, 9))
    assert b.node.span == Span("f.json", 3, 8, 1)
    assert isinstance(a.node, Sequence)
    assert [item.span for item in a.node.items] == [Span("f.json", 2, 9, 1), Span("f.json", 2, 12, 4)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["E116 1:1"]),
        (" \n ", ["E116 2:2"]),
        ("{", ["E118 1:1"]),
        ("[1\n", ["E118 1:1"]),
        ('{"a": [1}', ["E118 1:9"]),
        ('{"a" 1}', ["E118 1:6"]),
        ('{"a":}', ["E118 1:6"]),
        ('{"a": 1,}', ["E118 1:9"]),
        ("[1,]", ["E118 1:4"]),
        ("[,1]", ["E118 1:2"]),
        ("[1 2]", ["E118 1:4"]),
        ("{1: 2}", ["E118 1:2"]),
        ("{a: 2}", ["E118 1:2"]),
        ("{[]: 2}", ["E118 1:2"]),
        ("[1] [2]", ["E118 1:5"]),
        ("{}}", ["E118 1:3"]),
        ("]", ["E118 1:1"]),
        ("# c\n{}", ["E118 1:1"]),
        ("['a']", ["E118 1:2"]),
        ("[True]", ["E118 1:2"]),
        ("[+1]", ["E118 1:2"]),
        ("[01]", ["E118 1:2"]),
        ("[.5]", ["E118 1:2"]),
        ("[0x10]", ["E118 1:2"]),
        ('["a', ["E118 1:2"]),
        ('["a\n"]', ["E118 1:4"]),
        ('["\\x"]', ["E118 1:3"]),
        ('["\\u12"]', ["E118 1:4"]),
        ("[\u00a01]", ["E118 1:2"]),
        ('{"a": 1, "a": 2}', ["E105 1:10"]),
        ("[NaN, -Infinity, 1e999]", ["E110 1:2", "E110 1:7", "E110 1:18"]),
        ("[9223372036854775808, -9223372036854775809]", ["E109 1:2", "E109 1:23"]),
        (f"[{'9' * 5000}]", ["E109 1:2"]),
        ('["\\ud800", "\\u0000"]', ["E103 1:2", "E103 1:12"]),
        ('{"!foo": 1, "b": [1}', ["E118 1:20"]),
        ('{"!foo": 1}', ["E107 1:2"]),
        ('{"<<": 1}', []),
    ],
)
def test_what_is_no_json_is_located(text: str, found: list[str]):
    assert problems(text) == found


@pytest.mark.no_cover
def test_depth_and_number_of_values_are_limited():
    assert problems("[" * 64 + "]" * 64) == []
    assert problems("[" * 65 + "]" * 65) == ["E114 1:65"]
    assert problems("[" * 100_000) == ["E114 1:65"]
    assert problems("[" + "1," * 99_998 + "1]") == []
    assert problems("[" + "1," * 99_999 + "1]") == ["E115 1:200000"]
