"""`where` and `exclude`: what they keep, how it is counted, and what is said of rules in vain."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidfire_cli.manifest import check as checking
from rapidfire_cli.manifest.check import find_problems, warnings
from rapidfire_cli.manifest.counting import total
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.filters.counts import filter_counts
from rapidfire_cli.manifest.summary import summaries
from rapidfire_cli.problems import Refusal
from rapidfire_cli.syntax.ast import GridSearch, List, RandomSearch, Range, Tree
from rapidfire_cli.syntax.conditions.parser import parse
from rapidfire_cli.terms import canonical
from tests.manifest.trees import expanded, file

NAMES = ("k.a", "k.b", "k.c", "k.d", "k.e.f")
few = st.integers(-3, 3)


def lists(label: str | None, length: int) -> st.SearchStrategy[List]:
    values = st.lists(few, min_size=length, max_size=length, unique=label is None)
    return values.map(lambda taken: List(tuple(taken), label))


grids = st.fixed_dictionaries(
    {
        "k": st.fixed_dictionaries(
            {
                "a": lists(None, 3),
                "b": lists("pair", 2),
                "c": few,
                "d": lists("pair", 2),
                "e": st.lists(few, min_size=1, max_size=3, unique=True).map(
                    lambda values: List(tuple({"f": value, "g": List((1, 2))} for value in values))
                ),
            }
        ),
        "other": lists(None, 2),
    }
)
"""Independent lists, lists that advance together, a constant, and a knob inside alternatives."""

terms = st.one_of(
    st.sampled_from(NAMES),
    few.map(str),
    st.builds("({} {} {})".format, st.sampled_from(NAMES), st.sampled_from("+-*"), st.sampled_from(NAMES)),
)
comparisons = st.builds(
    "{} {} {}".format, terms, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), terms
) | st.builds("{} in [{}, {}]".format, terms, terms, terms)
conditions = st.recursive(
    comparisons,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
        | st.builds("not ({})".format, inner)
    ),
    max_leaves=4,
)
"""Conditions that mean the same in Python, on knobs that every leaf has."""


def in_python(condition: str, leaf: dict[str, Any]) -> bool:
    """What Python makes of the condition."""
    knobs = {**leaf["k"], "e": SimpleNamespace(**leaf["k"]["e"])}
    return bool(eval(condition, {"k": SimpleNamespace(**knobs)}))


def ruled(tree: dict[str, Tree], where: list[str], exclude: list[str]) -> GridSearch:
    return GridSearch(tree, where=tuple(map(parse, where)), exclude=tuple(map(parse, exclude)))


def configs(*generators: Any, **facts: Any) -> list[str]:
    return [run.config for run in expand(file(*generators, **facts))]


some = st.lists(conditions, max_size=2)


@given(grids, some, some)
def test_a_grid_keeps_what_python_would_keep_in_its_order_and_counts_it(tree, where, exclude):
    wanted = [
        canonical(leaf)
        for leaf in expanded(tree)
        if all(in_python(rule, leaf) for rule in where) and not any(in_python(rule, leaf) for rule in exclude)
    ]
    grid = ruled(tree, where, exclude)
    assert filter_counts(grid).kept == len(wanted)
    if wanted:
        assert configs(grid) == wanted
        assert total(file(grid)) == len(wanted)
    else:
        assert [problem.code for problem in find_problems(file(grid))] == ["E342"]


@given(grids, some, some)
def test_a_rule_in_vain_is_one_that_python_would_never_apply(tree, where, exclude):
    leaves = expanded(tree)
    found = filter_counts(ruled(tree, where, exclude))
    verdicts = [[in_python(rule, leaf) for leaf in leaves] for rule in where]
    verdicts += [[not in_python(rule, leaf) for leaf in leaves] for rule in exclude]
    every = [("where", place) for place in range(len(where))] + [
        ("exclude", place) for place in range(len(exclude))
    ]
    assert {(rule.key, rule.place) for rule in found.idle} == {
        rule for rule, kept in zip(every, verdicts, strict=True) if all(kept)
    }
    assert {(rule.key, rule.place) for rule in found.fatal} == {
        rule for rule, kept in zip(every, verdicts, strict=True) if not any(kept)
    }


def test_a_grid_of_a_trillion_is_counted_and_begun_at_once_under_rules():
    tree = {"k": {f"n{place}": List(tuple(range(10))) for place in range(12)}}
    grid = ruled(tree, ["k.n0 + k.n1 == 9", "k.n10 < k.n11"], [])
    assert filter_counts(grid).kept == 10 * 45 * 10**8
    runs = expand(file(grid))
    assert [(run.leaf["k"]["n10"], run.leaf["k"]["n11"]) for run in (next(runs), next(runs))] == [
        (0, 1),
        (0, 2),
    ]


def test_a_rule_says_nothing_of_a_leaf_config_that_lacks_its_knob():
    tree = {"optimizer": List(({"name": "sgd", "momentum": List((0.0, 0.9))}, {"name": "adam"}))}
    for where, exclude in ((["optimizer.momentum > 0.5"], []), ([], ["optimizer.momentum <= 0.5"])):
        kept = [json.loads(config)["optimizer"] for config in configs(ruled(tree, where, exclude))]
        assert kept == [{"name": "sgd", "momentum": 0.9}, {"name": "adam"}]


def test_rules_that_relate_too_much_are_refused(monkeypatch):
    monkeypatch.setattr(checking, "LOOKED_AT", 18)
    knobs: dict[str, Tree] = {name: List((1, 2, 3)) for name in "abc"}
    assert not find_problems(file(ruled(knobs, ["a < 3", "b < 3", "c < 3"], [])))
    assert not find_problems(file(ruled(knobs, ["a < b"], [])))
    (problem,) = find_problems(file(ruled(knobs, ["a < b < 3"], [])))
    assert (problem.code, problem.found) == ("E343", "27 values to check")


def test_the_rules_of_a_file_are_counted_together(monkeypatch):
    monkeypatch.setattr(checking, "LOOKED_AT", 18)
    one = ruled({name: List((1, 2, 3)) for name in "abc"}, ["a < b"], [])
    (problem,) = find_problems(file(one, one))
    assert problem.found == "18 values to check, and 18 in other groups"


def test_a_constant_condition_removes_all_or_nothing():
    knobs: dict[str, Tree] = {"a": List((1, 2))}
    assert [problem.code for problem in warnings(file(ruled(knobs, ["true"], ["false"])))] == ["W341", "W341"]
    assert [problem.code for problem in find_problems(file(ruled(knobs, [], ["2 > 1"])))] == ["E342"]


def test_the_counts_before_and_after_are_told():
    grid = ruled({"a": List((1, 2, 3))}, ["a < 3"], [])
    (summary,) = summaries(file(grid))
    assert (summary.count, summary.unfiltered) == (2, 3)
    search = search_of(5, ["a < 3"])
    (summary,) = summaries(file(search))
    assert summary.count == 5
    assert summary.unfiltered and summary.unfiltered > 5


def search_of(num_runs: int, where: list[str], values: tuple[int, ...] = (1, 2, 3)) -> RandomSearch:
    tree: dict[str, Tree] = {"a": List(values), "u": Range(0.0, 1.0, "float")}
    return RandomSearch(tree, num_runs, where=tuple(map(parse, where)))


@given(st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_a_search_draws_until_enough_satisfy_its_rules(num_runs, seed):
    drawn = [json.loads(config) for config in configs(search_of(num_runs, ["a < 3 or u > 0.5"]), seed=seed)]
    assert len(drawn) == num_runs
    assert all(leaf["a"] < 3 or leaf["u"] > 0.5 for leaf in drawn)


@given(st.integers(1, 10), st.integers(0, 10))
def test_raising_num_runs_keeps_earlier_draws_under_rules(few, more):
    assert configs(search_of(few + more, ["a < u * 3"]))[:few] == configs(search_of(few, ["a < u * 3"]))


def test_a_rule_only_removes_draws_and_brings_later_ones():
    free, ruled = configs(search_of(30, [])), configs(search_of(30, ["a < 3"]))
    kept = [config for config in free if json.loads(config)["a"] < 3]
    assert ruled[: len(kept)] == kept


def test_rules_that_are_too_narrow_are_told_with_what_they_removed():
    with pytest.raises(Refusal) as refused:
        configs(search_of(5, ["u < 0"]))
    (problem,) = refused.value.problems
    assert problem.code == "E331"
    assert problem.message == (
        "found only 0 distinct runs: 1,000 draws in a row repeated earlier ones or"
        " were removed by where/exclude (1,000 removed in total)"
    )


def test_a_rule_that_no_draw_broke_is_warned_of():
    search = search_of(3, ["u >= 0", "a < 3"])
    (warning,) = warnings(file(search))
    assert (warning.code, warning.message) == ("W341", "this condition removes none of the first 1,000 draws")
