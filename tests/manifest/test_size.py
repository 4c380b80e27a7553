"""Counting."""

from hypothesis import given

from rapidfire_cli.manifest.counting import count, planned, total
from rapidfire_cli.manifest.grid import leaves
from rapidfire_cli.manifest.size import size
from rapidfire_cli.syntax.ast import AdaptiveSearch, Config, GridSearch, Group, List, RandomSearch, Range
from tests.manifest.trees import MIXED, file, grids


@given(grids)
def test_a_grid_counts_as_many_runs_as_it_expands_to(tree):
    assert count(Group(GridSearch(tree))) == len(list(leaves(tree)))


def test_a_grid_of_a_trillion_is_counted_exactly_without_being_built():
    tree = {f"knob{place}": List(tuple(range(10))) for place in range(12)}
    assert count(Group(GridSearch({"user_knobs": tree}))) == 10**12


def test_conditional_knobs_count_as_a_sum_of_products():
    adam = {"name": "Adam", "args": {"lr": List((1, 2, 3)), "eps": List((1, 2))}}
    sgd = {
        "name": "SGD",
        "args": {"lr": List((1, 2, 3)), "schedulers": [{"gamma": List((1, 2))}, {"gamma": 1}]},
    }
    plain = "lbfgs"
    assert size({"optimizer": List((adam, sgd, plain)), "epochs": List((1, 2))}) == (3 * 2 + 3 * 2 + 1) * 2


def test_a_range_of_floats_is_a_continuum_and_one_of_ints_or_steps_is_not():
    assert size({"lr": Range(0.0, 1.0, "float"), "k": List((1, 2))}) is None
    assert size({"k": Range(1, 8, "int"), "p": Range(0.0, 0.5, "float", step=0.1)}) == 8 * 6


def test_a_fit_is_planned_with_the_runs_that_a_search_proposes():
    tree = {"lr": Range(0.0, 1.0, "float")}
    searches = [AdaptiveSearch(tree, many, "loss", "min", startup=5) for many in (30, 3)]
    described = file(*searches, RandomSearch(tree, num_runs=7))
    assert (total(described), planned(described)) == (5 + 3 + 7, 30 + 3 + 7)


def test_a_search_counts_the_runs_it_asks_for():
    assert count(Group(RandomSearch({"lr": Range(0.0, 1.0, "float")}, num_runs=7))) == 7


def test_a_config_is_one_run():
    assert count(Group(Config({"epochs": 1}))) == 1


def test_a_file_has_the_runs_of_all_its_groups():
    assert total(file(*MIXED)) == 1 + 4 + 6
