"""Grids, leaf by leaf."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidfire_cli.manifest import grid
from rapidfire_cli.manifest.grid import leaves
from rapidfire_cli.syntax.ast import List, Range
from rapidfire_cli.terms import canonical
from tests.manifest.trees import expanded, grids


@given(grids)
def test_the_leaves_are_those_of_the_obvious_expansion_in_its_order(tree):
    assert list(leaves(tree)) == [canonical(leaf) for leaf in expanded(tree)]


@given(grids, st.integers(1, 20))
def test_holding_few_texts_at_a_time_changes_nothing(tree, held):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "HELD", held)
        assert list(leaves(tree)) == [canonical(leaf) for leaf in expanded(tree)]


def test_the_last_knob_in_file_order_runs_fastest_though_keys_are_sorted():
    tree = {"z": List((1, 2)), "a": List(("x", "y"))}
    assert list(leaves(tree)) == ['{"a":"x","z":1}', '{"a":"y","z":1}', '{"a":"x","z":2}', '{"a":"y","z":2}']


def test_knobs_of_one_alternative_appear_with_that_alternative_only():
    tree = {"optimizer": List(("sgd", {"name": "adam", "eps": List((1, 2))}))}
    assert list(leaves(tree)) == [
        '{"optimizer":"sgd"}',
        '{"optimizer":{"eps":1,"name":"adam"}}',
        '{"optimizer":{"eps":2,"name":"adam"}}',
    ]


def test_lists_that_advance_together_take_their_values_side_by_side():
    tree = {"b": List((1, 2), "pair"), "c": List(("x", "y")), "a": List((3, 4), "pair")}
    assert list(leaves(tree)) == [
        '{"a":3,"b":1,"c":"x"}',
        '{"a":3,"b":1,"c":"y"}',
        '{"a":4,"b":2,"c":"x"}',
        '{"a":4,"b":2,"c":"y"}',
    ]


def test_values_that_advance_together_may_hold_value_sets():
    tree = {"a": List(({"x": List((1, 2))}, {"x": 3}), "pair"), "b": List((List((4, 5)), 6), "pair")}
    taken = [(leaf["a"]["x"], leaf["b"]) for leaf in map(json.loads, leaves(tree))]
    assert taken == [(1, 4), (1, 5), (2, 4), (2, 5), (3, 6)]


def test_each_alternative_has_lists_of_its_own_that_advance_together():
    def pair(*values):
        return {"a": List(values, "pair"), "b": List(values, "pair")}

    tree = {"optimizer": List((pair(1, 2), pair(3, 4, 5))), **pair(6, 7)}
    assert len(list(leaves(tree))) == (2 + 3) * 2


def test_the_same_value_set_in_two_places_is_two_value_sets():
    both = List((1, 2))
    assert len(list(leaves({"a": both, "b": [both]}))) == 4


def test_a_trillion_leaves_start_at_once_even_within_one_alternative():
    digits = List(tuple(range(10)))
    deep = {f"knob{place}": digits for place in range(12)}
    wide = {**{f"first{place}": List((0, 1)) for place in range(3000)}, "last": List((None, deep))}
    assert next(leaves({"deep": List((deep,))})).startswith('{"deep":{"knob0":0,')
    assert next(leaves(wide)).endswith('"last":null}')


def test_a_range_cannot_be_spelt_out():
    with pytest.raises(ValueError, match="grid"):
        next(leaves({"lr": Range(1, 2, "int")}))
