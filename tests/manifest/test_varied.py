"""The knobs that differ among runs."""

from hypothesis import given

from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.knob_paths import ABSENT, cell
from rapidfire_cli.manifest.varied import varied
from rapidfire_cli.syntax.ast import Config, GridSearch, List, RandomSearch, Range
from rapidfire_cli.terms import canonical
from tests.manifest.trees import MIXED, file, grids


def test_a_single_run_has_no_varied_knob():
    assert varied(file(MIXED[0])) == ()


def test_value_sets_vary_and_so_do_constants_that_differ_between_groups_in_file_order():
    assert varied(file(*MIXED)) == (
        "user_knobs.model_type",
        "train.batch_size",
        "train.optimizer.args.lr",
        "train.optimizer.args.weight_decay",
    )


def test_a_list_of_one_value_and_a_range_of_one_point_do_not_vary():
    tree = {"a": List((1,)), "b": Range(2.0, 2.0, "float"), "c": Range(1, 2, "int")}
    assert varied(file(RandomSearch(tree, 2))) == ("c",)


def test_a_knob_that_some_alternatives_lack_varies():
    adam, sgd = {"name": "Adam", "lr": 0.1}, {"name": "SGD", "lr": 0.1, "momentum": 0.9}
    assert varied(file(GridSearch({"optimizer": List((adam, sgd))}))) == (
        "optimizer.name",
        "optimizer.momentum",
    )


def test_a_knob_that_some_groups_lack_varies():
    assert varied(file(Config({"a": 1}), Config({"a": 1, "b": {"c": None}}))) == ("b.c",)


def test_a_list_of_plain_values_is_one_value():
    tree = {"betas": List(([0.9, 0.99], [0.8, 0.99]))}
    assert varied(file(GridSearch(tree))) == ("betas",)


def test_a_value_set_within_a_list_is_named_by_its_index():
    schedulers = [{"name": "LinearLR"}, {"name": "StepLR", "args": {"step_size": List((1, 2))}}]
    assert varied(file(GridSearch({"schedulers": schedulers}))) == ("schedulers.1.args.step_size",)


def test_an_int_and_its_float_are_two_values():
    assert varied(file(Config({"a": 1}), Config({"a": 1.0}))) == ("a",)


@given(grids)
def test_runs_that_agree_on_every_varied_knob_are_the_same_run(tree):
    asked = file(GridSearch(tree))
    knobs = varied(asked)
    configs = {run.config for run in expand(asked)}
    cells = {tuple(_text(cell(run.leaf, knob)) for knob in knobs) for run in expand(asked)}
    assert len(cells) == len(configs)


def _text(value: object) -> str:
    return "absent" if value is ABSENT else canonical(value)
