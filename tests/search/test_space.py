"""A config's value sets as named parameters."""

import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rapidfire_cli.search.space import (
    Choices,
    Distribution,
    Floats,
    Integers,
    at,
    fraction,
    leaf,
    parameters,
    recognized,
)
from rapidfire_cli.syntax.ast import List, Range, Tree
from tests.manifest.trees import searches

CONDITIONAL = {
    "optimizer": List(({"name": "SGD", "momentum": Range(0.0, 0.9, "float")}, {"name": "Adam"})),
    "depth": Range(2, 8, "int", step=2),
}


def chosen(tree: Tree, pick: Any) -> tuple[Any, dict[str, Distribution]]:
    """The leaf config, and the parameters that were asked for."""
    asked: dict[str, Distribution] = {}
    picked: dict[str, int | float] = {}

    def choose(name: str, among: Distribution) -> int | float:
        assert asked.setdefault(name, among) == among
        return picked.setdefault(name, pick(among))

    return leaf(tree, choose), asked


def lowest(among: Distribution) -> int | float:
    return 0 if isinstance(among, Choices) else among.low


def highest(among: Distribution) -> int | float:
    return among.many - 1 if isinstance(among, Choices) else among.high


def test_a_conditional_knob_is_a_parameter_only_where_it_exists():
    config, asked = chosen(CONDITIONAL, lowest)
    assert config == {"optimizer": {"name": "SGD", "momentum": 0.0}, "depth": 2}
    assert asked == {
        "optimizer": Choices(2),
        "optimizer[0].momentum": Floats(0.0, 0.9),
        "depth": Integers(2, 8, 2),
    }
    config, asked = chosen(CONDITIONAL, highest)
    assert config == {"optimizer": {"name": "Adam"}, "depth": 8}
    assert asked.keys() == {"optimizer", "depth"}


def test_knobs_that_advance_together_are_one_parameter():
    tree = {"a": List((1, 2), "size"), "b": List((10, 20), "size"), "c": List((0, 1))}
    config, asked = chosen(tree, highest)
    assert config == {"a": 2, "b": 20, "c": 1}
    assert asked == {"!zip size": Choices(2), "c": Choices(2)}


@pytest.mark.parametrize(
    ("interval", "distribution", "values"),
    [
        (Range(1e-4, 1.0, "float", log=True), Floats(1e-4, 1.0, log=True), (1e-4, 1.0)),
        (Range(0.1, 0.35, "float", step=0.1), Integers(0, 2), (0.1, 0.3)),
        (Range(1, 10, "int", step=4), Integers(1, 9, 4), (1, 9)),
        (Range(1, 64, "int", log=True), Integers(1, 64, log=True), (1, 64)),
    ],
)
def test_a_range_is_a_number_and_a_stepped_one_has_its_exact_values(interval, distribution, values):
    assert chosen({"x": interval}, lowest) == ({"x": values[0]}, {"x": distribution})
    assert chosen({"x": interval}, highest)[0] == {"x": values[1]}


@example({"f": List((None, None)), "": {"f": List((None,))}}, 0)
@given(searches, st.integers(0, 2**32))
def test_the_choices_of_a_config_are_recognized_in_it(tree: Tree, seed: int):
    draw = random.Random(seed)

    def pick(among: Distribution) -> int | float:
        match among:
            case Choices(many):
                return draw.randrange(many)
            case Integers(low, high, step):
                return draw.randrange(low, high + 1, step)
            case Floats(low, high):
                return draw.uniform(low, high)

    config, asked = chosen(tree, pick)
    assert asked.items() <= parameters(tree).items()
    found = recognized(tree, config)
    assert found is not None
    assert leaf(tree, lambda name, _: found[name].value) == config


@pytest.mark.parametrize(
    "among",
    [
        Choices(5),
        Integers(1, 64, log=True),
        Integers(3, 15, 4),
        Integers(7, 7),
        Floats(1e-4, 1.0, log=True),
        Floats(-2.0, 3.0),
    ],
)
def test_a_parameter_is_a_fraction_of_its_width_and_back(among: Distribution):
    values = [at(among, step / 1000) for step in range(1001)]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (pytest.approx(lowest(among)), pytest.approx(highest(among)))
    for value in values:
        assert 0 <= fraction(among, value) <= 1
        assert at(among, fraction(among, value)) == pytest.approx(value)


@pytest.mark.parametrize(
    "config",
    [
        {"optimizer": {"name": "Adam", "momentum": 0.5}, "depth": 2},
        {"optimizer": {"name": "Adam"}, "depth": 3},
        {"optimizer": {"name": "Adam"}, "depth": 10},
        {"optimizer": {"name": "Adam"}},
        {"optimizer": {"name": "SGD", "momentum": 1}, "depth": 2},
    ],
)
def test_a_config_of_another_origin_is_not_recognized(config):
    assert recognized(CONDITIONAL, config) is None
