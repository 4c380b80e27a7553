"""Runs of one shape."""

import pytest

from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.representatives import representatives, shape
from rapidfire_cli.syntax.ast import GridSearch, List
from rapidfire_cli.terms import canonical
from tests.manifest.trees import file


def test_numbers_stand_as_their_types_and_all_else_as_it_is():
    config = canonical({"a": [1, -2.0, 1e-7, 'x\\"1, 2', None, True], "b": {"4": -3}})
    assert shape(config) == r'{"a":[int,float,float,"x\\\"1, 2",null,true],"b":{"4":int}}'


def test_the_first_run_of_each_shape_stands_for_all_of_it():
    tree = {"model": List(("mlp", "cnn")), "lr": List((0.1, 0.2)), "bias": List((True, False))}
    tree |= {"train": {"epochs": 1}}
    assert [run.number for run in representatives(expand(file(GridSearch(tree)))).kinds] == [1, 2, 5, 6]


def test_every_train_section_is_looked_at_once_beside_the_shapes():
    train = {"epochs": 1, "lr": List((0.1, -0.1)), "name": List(("a", "b"))}
    runs = list(expand(file(GridSearch({"train": train, "user_knobs": {"seed": List((1, 2, 3))}}))))

    outline = representatives(runs)

    sections = [{"epochs": 1, "lr": lr, "name": name} for lr in (0.1, -0.1) for name in ("a", "b")]
    assert [run.leaf["train"] for run in outline.kinds] == sections[:2]
    assert [run.leaf["train"] for run in outline.others] == sections[2:]
    assert outline.epochs == dict.fromkeys(range(1, 13), 1)


@pytest.mark.no_cover
def test_of_very_many_sections_the_ends_of_each_number_are_looked_at():
    rates = tuple(0.001 * (7 * step % 101) for step in range(101))
    train = {"epochs": 1, "lr": List(rates), "betas": [0.9, List(rates)], "name": List(("a", "b"))}
    runs = list(expand(file(GridSearch({"train": train}))))

    outline = representatives(runs, most=20)

    seen = [run.leaf["train"] for run in (*outline.kinds, *outline.others)]
    for name in ("a", "b"):
        assert {min(rates), max(rates)} <= {one["lr"] for one in seen if one["name"] == name}
        assert {min(rates), max(rates)} <= {one["betas"][1] for one in seen if one["name"] == name}
    assert len(outline.others) <= 20
