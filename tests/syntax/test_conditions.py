"""Conditions over knobs: what they may say, how they bind, and where they are wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidfire_cli.problems import Span
from rapidfire_cli.syntax.conditions.located import within
from rapidfire_cli.syntax.conditions.parser import DEEPEST, LONGEST, parse
from rapidfire_cli.syntax.conditions.tokens import Malformed
from rapidfire_cli.syntax.conditions.tree import (
    And,
    Arithmetic,
    Comparison,
    Constant,
    Expression,
    Items,
    Knob,
    Negative,
    Not,
    Or,
    knobs,
    text,
)
from tests.syntax.reading import ADAM, TRAIN, generator, refused

A, B, C = Knob("a"), Knob("b"), Knob("c")


def wrong(condition: str) -> Malformed:
    with pytest.raises(Malformed) as malformed:
        parse(condition)
    return malformed.value


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("a or b and c", Or((A, And((B, C))))),
        ("(a or b) and c", And((Or((A, B)), C))),
        ("not a and b", And((Not(A), B))),
        ("not a == b", Not(Comparison(A, (("==", B),)))),
        ("a not in [b, c]", Comparison(A, (("not in", Items((B, C))),))),
        ("a < b <= c", Comparison(A, (("<", B), ("<=", C)))),
        ("a - b + c", Arithmetic(A, (("-", B), ("+", C)))),
        ("a + b * c", Arithmetic(A, (("+", Arithmetic(B, (("*", C),))),))),
        ("(a + b) % c", Arithmetic(Arithmetic(A, (("+", B),)), (("%", C),))),
        ("a // -b", Arithmetic(A, (("//", Negative(B)),))),
        ("a - 1", Arithmetic(A, (("-", Constant(1)),))),
        ("a == -1", Comparison(A, (("==", Constant(-1)),))),
        ("a in [1, 2,]", Comparison(A, (("in", Items((Constant(1), Constant(2)))),))),
        ("a in []", Comparison(A, (("in", Items(())),))),
    ],
)
def test_operators_bind_as_in_python(said: str, meant: Expression):
    assert parse(said) == meant


@pytest.mark.parametrize(
    ("said", "value"),
    [
        *[("true", True), ("True", True), ("false", False), ("False", False), ("null", None), ("None", None)],
        *[("12", 12), ("007", 7), ("1e-4", 1e-4), (".5", 0.5), ("2.", 2.0), ("1E3", 1000.0)],
        *[("'it''s'", "it's"), ('"a\\"\\u00e9"', 'a"é'), ("''", ""), ("9223372036854775807", 2**63 - 1)],
    ],
)
def test_constants(said: str, value: object):
    constant = parse(said)
    assert isinstance(constant, Constant)
    assert (constant.value, type(constant.value)) == (value, type(value))


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ("train.optimizer.args.lr", "train.optimizer.args.lr"),
        ("user_knobs.layers.0.width", "user_knobs.layers.0.width"),
        ('user_knobs."learning-rate".x', "user_knobs.learning-rate.x"),
        ("user_knobs.größe", "user_knobs.größe"),
        ("android.inner", "android.inner"),
    ],
)
def test_a_knob_is_named_by_its_dotted_path(said: str, path: str):
    assert parse(said) == Knob(path)
    assert parse(text(Knob(path))) == Knob(path)


@pytest.mark.parametrize(
    ("said", "at", "hint"),
    [
        ("", 0, ""),
        ("a ==", 4, ""),
        ("a = 1", 2, "write `==`"),
        ("a && b", 2, "write `and`"),
        ("a | b", 2, "write `or`"),
        ("!a", 0, "write `not`"),
        ("a ≤ 1", 2, "write `<=`"),
        ("a b", 2, ""),
        ("a == 'x", 5, ""),
        ("(a", 2, ""),
        ("a)", 1, ""),
        ("[1, 2", 5, ""),
        ("a in [1 2]", 8, ""),
        ("a < and", 4, ""),
        ("1.2.3", 0, "write digits, with a `.` or an `e` if needed: 1e-4"),
        ("12monkeys", 0, "write digits, with a `.` or an `e` if needed: 1e-4"),
        ("1e999", 0, ""),
        ("9223372036854775808", 0, ""),
        ('a == "\\x"', 5, "write \\\\ for a backslash, or use single quotes"),
        ("__import__('os')", 10, ""),
        ("a.b(1)", 3, ""),
        ("lambda: 1", 6, ""),
        ("a if b else c", 2, ""),
        ("a ** 2", 3, ""),
    ],
)
def test_what_is_no_condition_is_located(said: str, at: int, hint: str):
    assert (wrong(said).at, wrong(said).hint) == (at, hint)


@pytest.mark.parametrize("opening", ["(", "[", "not ", "- "])
def test_depth_and_length_are_bounded(opening: str):
    assert wrong(opening * (DEEPEST + 1) + "a").message == "nested too deeply"
    assert wrong(opening * 100_000).message == "condition is too long"
    assert parse("a" + " and a" * (LONGEST // 2 - 1))
    assert wrong("a" + " and a" * (LONGEST // 2)).message == "condition is too long"


names = st.sampled_from([A, B, Knob("user_knobs.my knob"), Knob("a.0")])
values = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.floats(-1e9, 1e9), st.text(max_size=3)
).map(Constant)


def test_a_very_long_number_is_looked_at_once():
    assert wrong(f"a == {'9' * 300_000}x").at == 5


def _compound(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    some = st.lists(inner, max_size=3).map(tuple)
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)

    def linked(*signs: str) -> st.SearchStrategy[tuple]:
        return st.lists(st.tuples(st.sampled_from(signs), inner), min_size=1, max_size=3).map(tuple)

    return st.one_of(
        some.map(Items),
        several.map(And),
        several.map(Or),
        inner.map(Not),
        inner.filter(lambda operand: not isinstance(operand, Constant)).map(Negative),
        st.builds(Arithmetic, inner, linked("+", "-")),
        st.builds(Arithmetic, inner, linked("*", "/", "//", "%")),
        st.builds(Comparison, inner, linked("==", "!=", "<", "<=", ">", ">=", "in", "not in")),
    )


expressions = st.recursive(names | values, _compound, max_leaves=12)


@given(expressions)
def test_a_condition_written_out_means_the_same(expression: Expression):
    again = parse(text(expression))
    assert repr(again) == repr(parse(text(again)))
    assert text(again) == text(expression)
    assert [knob.path for knob in knobs(again)] == [knob.path for knob in knobs(expression)]


@given(st.text(alphabet="ab.019 ()[]=<>!+-*/%,'\"\\notriadlsue\n", max_size=40))
def test_any_text_is_a_condition_or_malformed_inside_its_bounds(said: str):
    try:
        parse(said)
    except Malformed as malformed:
        assert 0 <= malformed.at <= len(said)


@pytest.mark.parametrize(
    ("width", "found"),
    [(5, Span("f", 1, 13, 2)), (7, Span("f", 1, 14, 2)), (9, Span("f", 1, 10, 9)), (1, Span("f", 1, 10, 1))],
)
def test_a_place_in_a_text_is_a_place_in_the_file_where_both_read_alike(width: int, found: Span):
    assert within(Span("f", 1, 10, width), "a < b", 3, 2) == found


def grid(rules: str, knobs: str = "a: !list [1, 2]") -> str:
    train = f"train: {{epochs: 1, batch_size: 8, {ADAM}}}"
    return f"gridsearch:\n  {rules}\n  user_knobs: {{{knobs}}}\n  {train}\n"


def test_a_rule_or_a_list_of_rules_stands_beside_the_sections():
    one = generator(grid("where: user_knobs.a > 1"))
    assert one.where == generator(grid("where: [user_knobs.a > 1]")).where == (parse("user_knobs.a > 1"),)
    both = generator(grid("exclude: [user_knobs.a > 1, user_knobs.a < 1]"))
    assert both.exclude == (parse("user_knobs.a > 1"), parse("user_knobs.a < 1"))


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ("where: user_knobs.b > 1", "E341 2:10"),
        ("where: user_knobs == 1", "E341 2:10"),
        ("where: [user_knobs.a > 1, 'user_knobs.a > b']", "E341 2:45"),
        ('where: "user_knobs.a \\u003e ]"', "E340 2:10"),
        ("where: >\n    user_knobs.a ]", "E340 2:10"),
        ("where: 3", "E203 2:10"),
        ("where: ''", "E206 2:10"),
        ("where: [3]", "E203 2:11"),
        ("where: {a: 1}", "E203 2:10"),
        ("where: !list [user_knobs.a > 1]", "E301 2:10"),
    ],
)
def test_a_rule_that_is_wrong_is_located_inside_its_text(rules: str, found: str):
    (problem,) = refused(grid(rules))
    assert problem.span
    assert f"{problem.code} {problem.span.line}:{problem.span.column}" == found


def test_a_knob_of_one_alternative_can_be_named_and_a_list_of_knobs_cannot():
    knobs = "a: !list [{b: 1, c: [1, 2]}, {b: 2}], d: [!list [1, 2], 3], e: !list [null, {f: 1}]"
    for path in ("a.b", "a.c", "a.c.0", "d.0", "d.1", "e", "e.f"):
        assert generator(grid(f"where: user_knobs.{path} == 1", knobs))
    for path in ("a", "d", "a.c.2", "d.2"):
        assert [problem.code for problem in refused(grid(f"where: user_knobs.{path} == 1", knobs))] == [
            "E341"
        ]


def test_an_empty_section_is_not_a_knob():
    (problem,) = refused(f"gridsearch:\n  where: user_knobs.a == 1\n  user_knobs: {{a: {{}}}}\n  {TRAIN}")
    assert (problem.code, problem.hint) == ("E341", "it has no knobs in this file")


def test_a_config_has_no_rules():
    text = grid("where: user_knobs.a > 1", "a: 1").replace("gridsearch", "config")
    assert [problem.code for problem in refused(text)] == ["E201"]
