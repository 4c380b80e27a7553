"""YAML to nodes: what is understood, what is refused, and where it is said to be."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidfire_cli.problems import Refusal, Span
from rapidfire_cli.syntax.nodes import Mapping, Node, Sequence
from rapidfire_cli.syntax.readers import read
from tests.syntax.reading import data


def root(text: str) -> Node:
    return read(text.encode(), "f.yaml").root


def problems(text: str | bytes) -> list[str]:
    """Those of the reader, fatal or not, as `code line:column`."""
    try:
        found = read(text if isinstance(text, bytes) else text.encode(), "f.yaml").problems
    except Refusal as refusal:
        found = refusal.problems
    return [f"{problem.code} {problem.span.line}:{problem.span.column}" for problem in found if problem.span]


def test_quotes_make_strings():
    assert data("['5', \"true\", '', \"~\", ! 7]") == ["5", "true", "", "~", "7"]


def test_block_scalars_are_strings():
    assert data("a: |\n  1\n  2\nb: >\n  x\n  y\n") == {"a": "1\n2\n", "b": "x y\n"}


def test_core_tags_are_understood():
    assert data("[!!str 5, !!int '5', !!float 5, !!seq [1], !!map {a: 1}, !!null '']") == [
        *["5", 5, 5.0],
        *[[1], {"a": 1}, None],
    ]


def test_a_one_key_table_means_what_its_tag_means():
    assert data('{"!list": [1, 2]}') == data("!list [1, 2]") == ("!list", [1, 2])
    assert data('{"!range": [1, 2]}') == data("!range [1, 2]") == data("!range {start: 1, end: 2}")
    assert data('{"!null": true}') is None


def test_value_sets_nest():
    assert data("!list [{a: !range [1, 2]}, {b: !list [3]}]") == (
        "!list",
        [{"a": ("!range", {"start": 1, "end": 2})}, {"b": ("!list", [3])}],
    )


def test_an_alias_repeats_what_its_anchor_marks():
    assert data("a: &x {k: [1]}\nb: *x\n") == {"a": {"k": [1]}, "b": {"k": [1]}}


def test_a_merge_key_takes_over_what_is_not_said_here():
    text = "base: &b {x: 1, y: 2}\na: {y: 3, <<: *b, z: 4}\n"
    assert data(text)["a"] == {"x": 1, "y": 3, "z": 4}


def test_of_merged_mappings_the_first_wins():
    assert data("{<<: [{a: 1, b: 1}, {b: 2, c: 2}], c: 3}") == {"a": 1, "b": 1, "c": 3}


def test_a_merge_key_in_quotes_is_a_key():
    assert data('{"<<": {a: 1}}') == {"<<": {"a": 1}}


def test_a_merge_key_where_a_value_stands_is_a_string():
    assert data("a: <<") == {"a": "<<"}


def test_a_byte_order_mark_is_no_character():
    assert problems("\ufeffa: 1\na: 2\n") == ["E105 2:1"]


def test_an_anchor_may_be_set_again():
    assert data("[&a 1, *a, &a 2, *a]") == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: 1\nb: 2\na: 3\n", ["E105 3:1"]),
        ("{a: 1, 'a': 2}", ["E105 1:8"]),
        ("1: a\n", ["E106 1:1"]),
        ("true: a\n~: b\n", ["E106 1:1", "E106 2:1"]),
        ("? {a: 1}\n: b\n", ["E106 1:3"]),
        ("{<<: {a: 1}, <<: {b: 2}, c: 1}", []),
        ("a: !foo 1\n", ["E107 1:4"]),
        ("a: !foo [1]\n", ["E107 1:4"]),
        ("a: !!set {b}\n", ["E107 1:4"]),
        ("a: !!binary aGk=\n", ["E107 1:4"]),
        ("a: !!timestamp 2020-01-01\n", ["E107 1:4"]),
        ("a: !!python/name:os.system ''\n", ["E107 1:4"]),
        ("a: !<tag:x> 1\n", ["E107 1:4"]),
        ("%TAG ! tag:x,2000:\n---\na: !list [1]\n", ["E107 3:4"]),
        ("a: {'!zap': [1]}\n", ["E107 1:5"]),
        ("a: !zip [1]\n", ["E108 1:4"]),
        ("a: !zip {with: b}\n", ["E108 1:4"]),
        ("a: !zip {with: 3, values: [1]}\n", ["E108 1:4"]),
        ("a: !zip {with: b, values: 3}\n", ["E108 1:4"]),
        ("a: !zip {with: b, values: [1], c: 2}\n", ["E108 1:4"]),
        ("a: !list 1\n", ["E108 1:4"]),
        ("a: !list {b: 1}\n", ["E108 1:4"]),
        ("a: !range 1\n", ["E108 1:4"]),
        ("a: !range [1, 2, 3]\n", ["E108 1:4"]),
        ("a: {'!list': [1], b: 2}\n", ["E108 1:5"]),
        ("a: {'!null': false}\n", ["E108 1:4"]),
        ("a: !!int x\n", ["E108 1:4"]),
        ("a: !!map [1]\n", ["E108 1:4"]),
        ("a: 9223372036854775808\n", ["E109 1:4"]),
        ("a: !!int 9223372036854775808\n", ["E109 1:4"]),
        ("a: [.nan, -.inf, 1e999]\n", ["E110 1:5", "E110 1:11", "E110 1:18"]),
        ("a: *b\n", ["E111 1:4"]),
        ("a: &b [*b]\n", ["E111 1:8"]),
        ("<<: 3\n", ["E112 1:5"]),
        ("<<: [{a: 1}, 3]\n", ["E112 1:5"]),
        ("a: 1\n---\nb: 2\n", ["E113 2:1"]),
        ("", ["E116 1:1"]),
        ("# nothing\n---\n...\n", []),
        ('a: "\\0"\n', ["E103 1:4"]),
    ],
)
def test_what_has_no_meaning_is_located(text: str, found: list[str]):
    assert problems(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"a: \xff\n", ["E102 1:4"]),
        (b"a: 1\nb: \xc3\xa9\xe9\n", ["E102 2:5"]),
        (b"a: \xed\xa0\x80\n", ["E102 1:4"]),  # a lone surrogate
        ("a: 1".encode("utf-16"), ["E102 1:1"]),
        (b"a: \x00\n", ["E103 1:4"]),
        ("a: 1\nb: \x85\n".encode(), ["E103 2:4"]),
        ("a: \u2028\n".encode(), ["E103 1:4"]),
        ("a: \ufeff1\n".encode(), ["E103 1:4"]),
        ("a: \uffff\n".encode(), ["E103 1:4"]),
    ],
)
def test_what_is_no_text_is_located(text: bytes, found: list[str]):
    assert problems(text) == found


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: [1, 2\nb: 3\n", "1:4", "this list is not closed"),
        ("a: {x: 1\nb: 3\n", "1:4", "this mapping is not closed"),
        ("a: 'x\nb: 1\n", "1:4", "unterminated string"),
        ("a: b: c\n", "1:5", "unexpected `:`"),
        ("a: - b\n", "1:4", "a list cannot start here"),
        ("\ta: 1\n", "1:1", "tabs cannot be used for indentation"),
        ("a:\n\t- b\n", "2:1", "tabs cannot be used for indentation"),
        ("a: b\n\tc: d\n", "2:1", "tabs cannot be used for indentation"),
        ("a: @x\n", "1:4", "a value cannot start with `@`"),
        ("a: %x\n", "1:4", "a value cannot start with `%`"),
        ("a: 1\n b: 2\n", "2:3", "unexpected `:`"),
        ("a:\n  b: 1\n c: 2\n", "3:2", "expected a key or the end of the mapping"),
        ("- a\nb: 1\n", "2:1", "expected a list item or the end of the list"),
        ("a: [1, , 2]\n", "1:8", "missing value"),
        ('a: "\\q"\n', "1:5", "unknown escape"),
        ('a: "\\ud800"\n', "1:7", "the escape is not a valid character"),
        ('a: "\\u12"\n', "1:7", "incomplete escape"),
        ("a: !x!y 1\n", "1:4", "invalid YAML: found undefined tag handle"),
    ],
)
def test_wrong_yaml_is_told_in_words(text: str, place: str, words: str):
    with pytest.raises(Refusal) as caught:
        read(text.encode(), "f.yaml")
    (problem,) = caught.value.problems
    assert problem.code == "E104"
    assert problem.message == words
    assert problem.span is not None
    assert f"{problem.span.line}:{problem.span.column}" == place


def test_problems_before_the_one_that_ends_reading_are_kept():
    assert problems("a: !foo 1\nb: [1\n") == ["E107 1:4", "E104 2:4"]


def test_a_span_covers_what_stands_on_one_line_and_else_its_start():
    tree = root("text: 'two words'\nlist: [1, 2]\nlong: [1,\n  2]\nblock:\n  key: 1\n  more: 2\nempty:\n")
    assert isinstance(tree, Mapping)
    spans = {entry.key: (entry.at, entry.node.span) for entry in tree.entries}
    assert spans["text"] == (Span("f.yaml", 1, 1, 4), Span("f.yaml", 1, 7, 11))
    assert spans["list"][1] == Span("f.yaml", 2, 7, 6)
    assert spans["long"][1] == Span("f.yaml", 3, 7, 1)
    assert spans["block"][1] == Span("f.yaml", 6, 3, 3)
    assert spans["empty"][1] == Span("f.yaml", 8, 7, 1)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_count_whatever_ends_them(end: str):
    tree = root(end.join(["é: 日本", "b: [x, y]"]))
    assert isinstance(tree, Mapping)
    items = tree.entries[1].node
    assert isinstance(items, Sequence)
    assert items.items[1].span == Span("f.yaml", 2, 8, 1)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029\ufeff\ufffe\uffff")
    ),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc<!", min_size=1), inner, max_size=4)
    ),
    max_leaves=20,
)


def reserved(value: object) -> bool:
    if isinstance(value, dict):
        return any(key.startswith("!") or reserved(inner) for key, inner in value.items())
    return isinstance(value, list) and any(map(reserved, value))


@given(PLAIN.filter(lambda value: not reserved(value)))
def test_json_reads_as_the_same_data(value: object):
    assert data(json.dumps(value, ensure_ascii=False)) == value
