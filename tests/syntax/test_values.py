"""Value sets: lists and ranges."""

from typing import Any

import pytest

from rapidfire_cli.syntax.ast import List, Range
from tests.syntax.reading import TRAIN, generator, refused, understood


def text(value: str) -> str:
    return f"randomsearch:\n  num_runs: 1\n  {TRAIN}\n  user_knobs: {{k: {value}}}\n"


def knob(value: str) -> Any:
    tree: Any = generator(text(value)).tree
    return tree["user_knobs"]["k"]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("!list [1, 2]", List((1, 2))),
        ("!list [1.0, 2.5]", List((1.0, 2.5))),
        ("!list [a]", List(("a",))),
        ("!list [true, false]", List((True, False))),
        ("!list [null, a]", List((None, "a"))),
        ("!list [null, 1, 2]", List((None, 1, 2))),
        ("!list [null]", List((None,))),
        ("!list [[1, a], [2, b]]", List(([1, "a"], [2, "b"]))),
        ("!list [{a: 1}, {b: !list [1, 2]}]", List(({"a": 1}, {"b": List((1, 2))}))),
        ("!list [0.0, !range [0.1, 1.0]]", List((0.0, Range(0.1, 1.0, "float")))),
        ("!list [1, !list [2, 3]]", List((1, List((2, 3))))),
        ("!list [[1], [1.0], [true]]", List(([1], [1.0], [True]))),
        ("!list [{a: 1, b: 2}, {a: 1}]", List(({"a": 1, "b": 2}, {"a": 1}))),
    ],
)
def test_a_list_holds_values_of_one_type(written: str, value: List):
    assert knob(written) == value


@pytest.mark.parametrize(
    ("written", "code", "column", "hint"),
    [
        ("!list []", "E302", 19, ""),
        ("!list [1, 2.0]", "E303", 26, "write 1.0"),
        ("!list [1.5, 2]", "E303", 31, "write 2.0"),
        ("!list [1, true]", "E303", 29, ""),
        ("!list [a, null, 3]", "E303", 35, ""),
        ("!list [[1], {a: 1}]", "E303", 31, ""),
        ("!list [1, !range [0.5, 1.0]]", "E303", 26, "write 1.0"),
        ("!list [1, !list [a, b]]", "E303", 29, ""),
        ("!list [a, b, a]", "E304", 32, "the first one is at f.yaml:4:26"),
        ("!list [null, null]", "E304", 32, "the first one is at f.yaml:4:26"),
        ("!list [1.0, 1e0]", "E304", 31, "the first one is at f.yaml:4:26"),
        ("!list [[1], [1]]", "E304", 31, "the first one is at f.yaml:4:26"),
        ("!list [{a: 1, b: 2}, {b: 2, a: 1}]", "E304", 40, "the first one is at f.yaml:4:26"),
    ],
)
def test_what_a_list_may_not_hold(written: str, code: str, column: int, hint: str):
    (problem,) = refused(text(written))
    assert problem.span is not None
    assert (problem.code, problem.span.line, problem.span.column, problem.hint) == (code, 4, column, hint)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("!range [1, 10]", Range(1, 10, "int")),
        ("!range [1, 10.0]", Range(1.0, 10.0, "float")),
        ("!range [1e-4, 9e-4]", Range(1e-4, 9e-4, "float")),
        ("!range [3, 3]", Range(3, 3, "int")),
        ("!range {start: 1, end: 10}", Range(1, 10, "int")),
        ("!range {start: 1, end: 10, dtype: float}", Range(1.0, 10.0, "float")),
        ("!range {start: 0, end: 1, dtype: int}", Range(0, 1, "int")),
        ("!range {start: 1, end: 10, step: 3}", Range(1, 10, "int", step=3)),
        ("!range {start: 0.0, end: 1, step: 0.25}", Range(0.0, 1.0, "float", step=0.25)),
        ("!range {start: 1e-5, end: 1e-1, log: true}", Range(1e-5, 1e-1, "float", log=True)),
        ("!range {start: 1, end: 1024, log: true}", Range(1, 1024, "int", log=True)),
        ("!range {start: 1, end: 2, log: false, step: 1}", Range(1, 2, "int", step=1)),
        ("{'!range': {start: 1, end: 2}}", Range(1, 2, "int")),
        ("!range [-9223372036854775808, 9223372036854775807]", Range(-(2**63), 2**63 - 1, "int")),
    ],
)
def test_a_range_has_two_ends_and_one_type(written: str, value: Range):
    found = knob(written)
    assert found == value
    assert [type(end) for end in (found.start, found.end)] == [type(value.start)] * 2
    assert understood(text(written)).warnings == ()


@pytest.mark.parametrize(
    ("written", "codes"),
    [
        ("!range [a, 1]", ["E203"]),
        ("!range [true, 1]", ["E203"]),
        ("!range [null, 1]", ["E203"]),
        ("!range [1, .inf]", ["E110"]),
        ("!range [!list [1], 2]", ["E301"]),
        ("!range {start: 1}", ["E202"]),
        ("!range {}", ["E202", "E202"]),
        ("!range {start: 1, stop: 2}", ["E202", "E201"]),
        ("!range {start: 1, end: 2, dtype: integer}", ["E205"]),
        ("!range {start: 1, end: 2, log: 1}", ["E203"]),
        ("!range {start: 1, end: 2, step: 0}", ["E204"]),
        ("!range {start: 1, end: 2, step: -1}", ["E204"]),
        ("!range {start: 1, end: 2, step: 0.5}", ["E305"]),
        ("!range {start: 1.5, end: 2, dtype: int}", ["E305"]),
        ("!range {start: 1, end: 2, log: true, step: 1}", ["E306"]),
        ("!range {start: 0, end: 2, log: true}", ["E307"]),
        ("!range {start: -1.0, end: -2.0, log: true}", ["E307", "E307"]),
    ],
)
def test_what_is_no_range(written: str, codes: list[str]):
    assert [problem.code for problem in refused(text(written))] == codes


@pytest.mark.parametrize("written", ["!range [9, 1]", "!range {start: 9, end: 1}"])
def test_a_reversed_range_is_turned_round_with_a_warning(written: str):
    assert knob(written) == Range(1, 9, "int")
    (warning,) = understood(text(written)).warnings
    assert (warning.code, warning.hint) == ("W301", "it is read as [1, 9]")


def test_two_ints_0_and_1_are_warned_of():
    assert knob("!range [0, 1]") == Range(0, 1, "int")
    assert [warning.code for warning in understood(text("!range [0, 1]")).warnings] == ["W302"]
