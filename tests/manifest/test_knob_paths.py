"""The knobs of a leaf config."""

import pytest
from hypothesis import given

from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.knob_paths import ABSENT, cell, dotted, knobs
from rapidfire_cli.manifest.varied import every
from rapidfire_cli.syntax.ast import GridSearch
from tests.manifest.trees import file, grids


def test_a_list_is_one_knob_unless_mappings_stand_in_it():
    leaf = {"betas": [0.9, 0.99], "layers": [{"width": 8}, {}], "empty": {}}
    assert [(dotted(path), value) for path, value in knobs(leaf)] == [
        ("betas", [0.9, 0.99]),
        ("layers.0.width", 8),
        ("layers.1", {}),
        ("empty", {}),
    ]


@given(grids)
def test_every_knob_of_the_runs_is_known_without_expanding(tree):
    asked = file(GridSearch(tree))
    columns = every(asked)
    for run in expand(asked):
        for path, _ in knobs(run.leaf):
            prefixes = {dotted(path[:length]) for length in range(len(path) + 1)}
            deeper = any(column.startswith(f"{dotted(path)}.") for column in columns)
            assert deeper or prefixes & set(columns)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("train.optimizer.args.lr", 0.1),
        ("train.optimizer", {"args": {"lr": 0.1}}),
        ("train.layers.1.width", 64),
        ("user_knobs.a.b.c", None),
        ("train.optimizer.name", ABSENT),
        ("train.layers.7", ABSENT),
        ("train.optimizer.args.lr.deeper", ABSENT),
        ("tra", ABSENT),
    ],
)
def test_a_cell_is_found_by_its_dotted_path(knob, value):
    leaf = {
        "train": {"optimizer": {"args": {"lr": 0.1}}, "layers": [{}, {"width": 64}]},
        "user_knobs": {"a": {}, "a.b": {"c": None}},
    }
    assert cell(leaf, knob) == value
