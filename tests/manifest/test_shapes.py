"""Runs of one shape."""

from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.shapes import representatives, shape
from rapidfire_cli.syntax.group import GridSearch, List
from tests.manifest.trees import file


def test_numbers_stand_as_their_types_and_all_else_as_it_is():
    assert shape({"a": [1, 2.0, "x", None, True], "b": {"c": 3}}) == {
        "a": ["int", "float", "x", None, True],
        "b": {"c": "int"},
    }


def test_the_first_run_of_each_shape_stands_for_all_of_it():
    tree = {"model": List(("mlp", "cnn")), "lr": List((0.1, 0.2)), "bias": List((True, False))}
    assert [run.number for run in representatives(expand(file(GridSearch(tree))))] == [1, 2, 5, 6]
