"""TOML to nodes: what tomli reads, every key and value in its place, every knob named."""

import pytest

from rapidfire_cli.problems import Problem, Refusal, Span
from rapidfire_cli.syntax.nodes import Alternatives, Interval, Mapping, Node, Sequence
from rapidfire_cli.syntax.parser import parse
from rapidfire_cli.syntax.readers import read
from tests.syntax.reading import data


def refused(text: str) -> tuple[Problem, ...]:
    try:
        parse(text.encode(), "f.toml")
    except Refusal as refusal:
        return refusal.problems
    raise AssertionError(f"understood: {text!r}")


def problems(text: str) -> list[str]:
    try:
        found = read(text.encode(), "f.toml").problems
    except Refusal as refusal:
        found = refusal.problems
    return [f"{problem.code} {problem.span.line}:{problem.span.column}" for problem in found if problem.span]


def places(text: str) -> dict[str, str]:
    """Of every value, by its path: the place of its key, an arrow, and its own."""
    return dict(_places(read(text.encode(), "f.toml").root, ""))


def _places(node: Node, path: str):
    match node:
        case Mapping(entries) | Interval(Mapping(entries)):
            for entry in entries:
                yield f"{path}.{entry.key}", f"{_at(entry.at)} → {_at(entry.node.span)}"
                yield from _places(entry.node, f"{path}.{entry.key}")
        case Sequence(items) | Alternatives(items):
            for index, item in enumerate(items):
                yield f"{path}[{index}]", _at(item.span)
                yield from _places(item, f"{path}[{index}]")


def _at(span: Span) -> str:
    return f"{span.line}:{span.column}+{span.width}"


def test_the_notation_is_known_by_the_suffix():
    assert data("a = 1", "f.toml") == data("a = 1", "F.TOML") == data("a: 1", "f.yml") == {"a": 1}


def test_tables_arrays_and_inline_tables_are_mappings_and_lists():
    text = 'a.b = 1\n[c]\nd = [1, {e = "x"}]\n[[f]]\ng = 1.5\n[f.h]\n[[f]]\n'
    assert data(text, "f.toml") == {
        "a": {"b": 1},
        "c": {"d": [1, {"e": "x"}]},
        "f": [{"g": 1.5, "h": {}}, {}],
    }


def test_one_key_tables_stand_for_tags_and_for_null():
    text = (
        'a = {"!list" = [1, {"!null" = true}]}\nb = {"!range" = [1, 2]}\n["c"."!range"]\nstart = 1\nend = 2\n'
    )
    parts = {"start": 1, "end": 2}
    assert data(text, "f.toml") == {"a": ("!list", [1, None]), "b": ("!range", parts), "c": ("!range", parts)}


def test_every_key_and_value_has_its_place():
    text = """\
"a\\u0062".'c' = [1, {x = 'y'}, [ # here
  2.5 ]]
[t.u]  # a table
k = \"\"\"long
text\"\"\"
[[v]]
w = {"!list" = [1, 2]}
[v.z]
q=true
[[v]]
"""
    assert places(text) == {
        ".ab": "1:1+9 → 1:1+9",
        ".ab.c": "1:11+3 → 1:17+1",
        ".ab.c[0]": "1:18+1",
        ".ab.c[1]": "1:21+9",
        ".ab.c[1].x": "1:22+1 → 1:26+3",
        ".ab.c[2]": "1:32+1",
        ".ab.c[2][0]": "2:3+3",
        ".t": "3:2+1 → 3:2+1",
        ".t.u": "3:4+1 → 3:4+1",
        ".t.u.k": "4:1+1 → 4:5+1",
        ".v": "6:3+1 → 6:3+1",
        ".v[0]": "6:3+1",
        ".v[0].w": "7:1+1 → 7:5+18",
        ".v[0].w[0]": "7:17+1",
        ".v[0].w[1]": "7:20+1",
        ".v[0].z": "8:4+1 → 8:4+1",
        ".v[0].z.q": "9:1+1 → 9:3+4",
        ".v[1]": "10:3+1",
    }


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_count_whatever_ends_them(end: str):
    assert places(end.join(["é = '日本'", "b = ['x', 'y']"]).replace("é", "'é'"))[".b[1]"] == "2:11+3"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["E116 1:1"]),
        ("# nothing\n", ["E116 1:1"]),
        ("a = \n", ["E117 1:5"]),
        ("a: 1\n", ["E117 1:2"]),
        ("a = !list [1]\n", ["E117 1:5"]),
        ("a = text\n", ["E117 1:5"]),
        ("a = [1\n", ["E117 1:5"]),
        ("a = {b = [1]", ["E117 1:5"]),
        ("a = 'x\n", ["E117 1:5"]),
        ("a = '''x\n", ["E117 1:5"]),
        ("a =", ["E117 1:4"]),
        ("[a\nb = 1\n", ["E117 1:3"]),
        ("a = 1 b = 2\n", ["E117 1:7"]),
        ("a = 1\nb = 2\na = 3\n", ["E105 3:1"]),
        ("[a]\n[a]\n", ["E105 2:2"]),
        ("a.b = 1\n[a]\n", ["E105 2:3"]),
        ("a = {b = 1, b = 2}\n", ["E105 1:13"]),
        ('"a" = 1\na = 2\n', ["E105 2:1"]),
        ("a = nan\nb = [-inf, 1e999]\n", ["E110 1:5", "E110 2:6", "E110 2:12"]),
        ("a = 9223372036854775808\n", ["E109 1:5"]),
        ("a = 0x1" + "0" * 5000 + "\n", ["E109 1:5"]),
        (f"a = {'9' * 5000}\n", ["E109 1:5"]),
        ("a = 2024-05-01\nb = 07:32:00\nc = 2024-05-01 07:32:00Z\n", ["E119 1:5", "E119 2:5", "E119 3:5"]),
        ('a = "\\u0000"\n', ["E103 1:5"]),
        ('a = "\\ud800"\n', ["E117 1:12"]),
        ('a = {"!foo" = 1}\n', ["E107 1:6"]),
        ('a = {"!null" = false}\n', ["E108 1:5"]),
        ("a = \r\n", ["E117 1:5"]),
    ],
)
def test_what_is_no_toml_is_located(text: str, found: list[str]):
    assert problems(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        "a" + ".a" * 100_000 + " = 1",
        "[a" + ".a" * 100_000 + "]",
        "a = {b" + ".a" * 100_000 + " = 1}",
        "a = " + "{a = " * 40_000,
        "[a" + ".a" * 40 + "]\n" + "b" + ".b" * 40 + " = 1",
        ("[" + ".".join("abcdefgh" * 5) + "]\n") * 1 + "x = " + "[" * 40 + "]" * 40,
    ],
)
def test_depth_is_refused(text: str):
    assert [problem.code for problem in refused(text)] == ["E114"]


@pytest.mark.no_cover
def test_the_number_of_values_is_limited():
    assert problems("a = [" + "1," * 99_997 + "]") == []
    assert [problem.code for problem in refused("a = [" + "1," * 99_998 + "]")] == ["E115"]


FILE = """\
[gridsearch.train]
epochs = 1
batch_size = {"!list" = []}
optimizer = {name = "Adam", args = {lr = {"!list" = [1.0, 1]}, b = {"!list" = [{c = {"!list" = [1, 1]}}]}}}
"""


def test_every_problem_names_its_knob():
    assert [problem.message.partition("`")[2] for problem in refused(FILE)] == [
        "gridsearch.train.batch_size`",
        "gridsearch.train.optimizer.args.lr`",
        "gridsearch.train.optimizer.args.b.c`",
    ]


def test_a_knob_that_is_named_is_not_named_again():
    text = "[config.train]\nepochs = 0\nbatch_size = 8\noptimizer.name = 'Adam'\n"
    assert [problem.message for problem in refused(text)] == ["`train.epochs` is out of range"]
