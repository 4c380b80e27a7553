"""Random draws."""

import json
from collections import Counter
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.sampling import draws, signature, stream
from rapidfire_cli.manifest.template import holes
from rapidfire_cli.problems import Refusal, Span
from rapidfire_cli.syntax.ast import (
    ExperimentFile,
    Generator,
    Group,
    List,
    RandomSearch,
    Range,
    SuccessiveHalving,
    Tree,
)
from tests.manifest.trees import MIXED, file, optimizer, searches

LR = Range(1e-4, 9e-4, "float")


def configs(*generators: Generator, group: int = 1, seed: int = 42) -> list[str]:
    return [run.config for run in expand(file(*generators, seed=seed)) if run.group == group]


def refusal(searching: RandomSearch) -> Refusal:
    span = Span("experiment.yaml", 3, 5)
    asked = ExperimentFile("experiment", (Group(searching, at=("g",)),), origins={("g", "num_runs"): span})
    with pytest.raises(Refusal) as refused:
        list(expand(asked))
    assert refused.value.problems[0].span == span
    return refused.value


@given(searches, st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_every_draw_is_a_distinct_leaf_of_the_space(tree, num_runs, seed):
    drawn = configs(RandomSearch(tree, num_runs), seed=seed)
    assert len(set(drawn)) == num_runs
    assert all(_lies_in(json.loads(config), tree) for config in drawn)


@given(searches, st.integers(1, 5), st.integers(0, 5))
def test_raising_num_runs_keeps_earlier_draws(tree, few, more):
    assert configs(RandomSearch(tree, few + more))[:few] == configs(RandomSearch(tree, few))


def test_editing_a_constant_keeps_the_draws():
    one, other = ({"epochs": epochs, "lr": LR, "new": None} for epochs in (1, 2))
    del other["new"]
    assert _rates(configs(RandomSearch(one, 5))) == _rates(configs(RandomSearch(other, 5)))


def test_adding_groups_keeps_the_draws():
    config, grid, search = MIXED
    other = RandomSearch({"dropout": LR}, 3)
    assert configs(search) == configs(other, grid, search, config, group=3)


def test_moving_a_key_keeps_the_draws():
    knobs: dict[str, Tree] = {"b": List((1, 2, 3)), "lr": LR}
    assert configs(RandomSearch(knobs, 5)) == configs(RandomSearch(dict(reversed(knobs.items())), 5))


def test_equal_groups_draw_differently():
    search = RandomSearch({"lr": LR}, 5)
    assert not set(configs(search, search, group=1)) & set(configs(search, search, group=2))


def test_another_seed_draws_differently():
    search = RandomSearch({"lr": LR}, 5)
    assert not set(configs(search, seed=1)) & set(configs(search, seed=2))


def test_the_draws_of_today_are_those_of_ever_after():
    knobs: dict[str, Tree] = {
        "float": Range(0.0, 1.0, "float"),
        "int": Range(1, 1000, "int"),
        "list": List(("a", {"deep": Range(0.0, 1.0, "float", step=0.1)})),
        "log": Range(1e-6, 1e-1, "float", log=True),
        "logint": Range(1, 1000, "int", log=True),
    }
    assert configs(RandomSearch(knobs, 3)) == [
        '{"float":0.5016735904360441,"int":201,"list":{"deep":0.0},"log":0.039013650974025184,"logint":16}',
        '{"float":0.47208426441426177,"int":496,"list":{"deep":0.6},"log":0.010427576370654442,"logint":276}',
        '{"float":0.9177692430931129,"int":504,"list":{"deep":0.6},"log":0.025673438883745302,"logint":1}',
    ]


def test_successive_halving_draws_as_a_random_search_does():
    tree = {"train": optimizer(LR)}
    halving = SuccessiveHalving(tree, 8, 1, 8, 2, "loss", "min")
    assert configs(halving) == configs(RandomSearch(tree, 8))


def test_lists_that_advance_together_are_drawn_together():
    def pair(*values):
        return List(values, "pair")

    tree = {"a": pair(1, 2, 3), "b": pair(10, 20, List((30, 40))), "u": Range(0.0, 1.0, "float")}
    drawn = {(leaf["a"], leaf["b"]) for leaf in map(json.loads, configs(RandomSearch(tree, 60)))}
    assert drawn == {(1, 10), (2, 20), (3, 30), (3, 40)}


def test_a_list_gives_each_branch_the_same_share_however_many_leaves_it_has():
    tree = {"branch": List(("one", {"many": Range(0.0, 1.0, "float")}, {"few": List((1, 2))}))}
    search = RandomSearch({"u": Range(0.0, 1.0, "float"), **tree}, 3000)
    branches = Counter(
        next(iter(leaf)) if isinstance(leaf := json.loads(config)["branch"], dict) else leaf
        for config in draws(search, stream(7, signature(search.tree), 0), None)
    )
    assert all(900 < branches[name] < 1100 for name in ("one", "many", "few"))


def test_a_uniform_range_fills_its_interval_evenly():
    drawn = [leaf["lr"] for leaf in map(json.loads, configs(RandomSearch({"lr": LR}, 4000)))]
    quarters = Counter(int((rate - LR.start) / (LR.end - LR.start) * 4) for rate in drawn)
    assert all(900 < quarters[quarter] < 1100 for quarter in range(4))


def test_a_log_range_gives_every_decade_the_same_share():
    tree = {"lr": Range(1e-5, 1e-1, "float", log=True)}
    decades = Counter(json.loads(config)["lr"] // 1e-4 > 0 for config in configs(RandomSearch(tree, 2000)))
    assert 1400 < decades[True] < 1600


def test_the_whole_of_a_finite_space_can_be_drawn():
    tree = {"a": List((1, 2, 3)), "b": Range(1, 4, "int")}
    assert len(set(configs(RandomSearch(tree, 12)))) == 12


def test_more_runs_than_combinations_are_refused_before_anything_is_drawn():
    (problem,) = refusal(RandomSearch({"a": List((1, 2, 3)), "b": Range(1, 4, "int")}, 13)).problems
    assert (problem.code, problem.expected) == ("E330", "at most 12")
    assert problem.message == "cannot draw 13 distinct runs from 12 combinations"


def test_every_group_that_asks_for_too_much_is_reported_at_once():
    search = RandomSearch({"a": List((1, 2, 3))}, 4)
    with pytest.raises(Refusal) as refused:
        expand(file(search, MIXED[0], search))
    assert [problem.code for problem in refused.value.problems] == ["E330", "E330"]


def test_draws_that_only_repeat_end_with_how_many_were_found():
    overlapping = {"a": List((List((1, 2)), List((2, 3))))}
    (problem,) = refusal(RandomSearch(overlapping, 4)).problems
    assert problem.code == "E331"
    assert problem.message == "found only 3 distinct runs: 1,000 draws in a row repeated earlier ones"


def test_draws_come_one_by_one():
    search = RandomSearch({"lr": LR}, 10**12)
    assert len(list(islice(draws(search, stream(1, "", 0), None), 3))) == 3


def _rates(drawn: list[str]) -> list[float]:
    return [json.loads(config)["lr"] for config in drawn]


def _lies_in(leaf: object, tree: Tree) -> bool:
    from rapidfire_cli.manifest.origin import holds

    return holds(tree, leaf) and not list(holes(leaf))
