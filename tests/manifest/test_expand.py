"""From a file to its runs."""

from itertools import islice

import pytest
from hypothesis import given

from rapidfire_cli.manifest import expand as expanding
from rapidfire_cli.manifest.codec import write
from rapidfire_cli.manifest.counting import total
from rapidfire_cli.manifest.expand import expand, jsonl, repeats
from rapidfire_cli.syntax.ast import Config, GridSearch, List, RandomSearch, Range
from tests.manifest.trees import MIXED, file, grids, optimizer


def test_the_groups_of_a_mixed_list_follow_one_another():
    runs = list(expand(file(*MIXED)))
    assert [run.number for run in runs] == list(range(1, 12))
    assert [run.group for run in runs] == [1] + [2] * 4 + [3] * 6
    assert runs[2].leaf == {"user_knobs": {"model_type": "vit"}, "train": optimizer(1e-4, 1e-5)}


def test_every_run_trains_with_the_seed_of_the_file():
    assert {run.seed for run in expand(file(*MIXED, seed=7))} == {7}


def test_replicates_of_a_leaf_config_follow_one_another_and_the_first_is_the_run_it_always_was():
    grid = GridSearch({"lr": List((1, 2))}, replicates=3)
    runs = list(expand(file(grid, Config({"lr": 3}, replicates=2))))
    assert [(run.number, run.leaf["lr"], run.replicate) for run in runs] == [
        *[(1, 1, 0), (2, 1, 1), (3, 1, 2), (4, 2, 0), (5, 2, 1), (6, 2, 2)],
        *[(7, 3, 0), (8, 3, 1)],
    ]
    alone = list(expand(file(GridSearch({"lr": List((1, 2))}))))
    assert [run.id for run in runs if run.replicate == 0][:2] == [run.id for run in alone]
    assert len({run.id for run in runs}) == 8


def test_each_replicate_trains_with_a_seed_of_its_own_that_all_leaf_configs_share():
    runs = list(expand(file(GridSearch({"lr": List((1, 2))}, replicates=3), seed=7)))
    assert [run.seed for run in runs[:3]] == [run.seed for run in runs[3:]] == [7, 392610622, 3078074718]


def test_replicates_of_a_search_are_counted_beside_its_draws():
    search = RandomSearch({"lr": Range(0.0, 1.0, "float")}, 3, replicates=4)
    plain = RandomSearch({"lr": Range(0.0, 1.0, "float")}, 3)
    assert total(file(search)) == 12
    drawn = [run.config for run in expand(file(search))]
    assert drawn[::4] == [run.config for run in expand(file(plain))]


@given(grids, grids)
def test_streamed_lines_are_those_of_the_runs(tree, other):
    search = RandomSearch({"lr": Range(0.0, 1.0, "float")}, 2)
    asked = file(
        GridSearch(tree, replicates=2), search, GridSearch(other), mlspec="a:B", data={"ä": None}, seed=3
    )
    assert list(jsonl(asked)) == [write(run) for run in expand(asked)]


@given(grids)
def test_as_many_runs_as_were_counted(tree):
    asked = file(GridSearch(tree), *MIXED)
    assert sum(1 for _ in expand(asked)) == total(asked)


def test_the_same_file_gives_the_same_bytes():
    assert list(jsonl(file(*MIXED))) == list(jsonl(file(*MIXED)))


def test_the_first_runs_of_a_trillion_come_at_once():
    tree = {f"knob{place}": List(tuple(range(10))) for place in range(12)}
    assert [run.number for run in islice(expand(file(GridSearch(tree))), 5)] == [1, 2, 3, 4, 5]


def test_two_groups_with_the_same_leaf_repeat_its_id():
    grid, config = GridSearch({"lr": List((1, 2, 3))}), Config({"lr": 2})
    assert list(repeats(file(grid, config, grid))) == [(4, 2), (5, 1), (6, 2), (7, 3)]


def test_distinct_runs_do_not_repeat():
    assert list(repeats(file(*MIXED))) == []


@pytest.mark.parametrize(("limit", "value"), [("COMPARED", 3), ("COMPARED_TEXT", 3 * len('{"lr":1}'))])
def test_repeats_are_looked_for_within_bounds_of_memory_and_time(monkeypatch, limit, value):
    monkeypatch.setattr(expanding, limit, value)
    assert list(repeats(file(*(Config({"lr": 1}),) * 5))) == [(2, 1), (3, 1)]
