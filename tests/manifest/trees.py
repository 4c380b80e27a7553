"""Configs to test with: hypothesis strategies, files around them, and the slow and obvious way to expand."""

from itertools import product
from typing import Any

from hypothesis import strategies as st

from rapidfire_cli.manifest.size import size
from rapidfire_cli.manifest.template import Axis, axes
from rapidfire_cli.syntax.ast import (
    Config,
    ExperimentFile,
    Generator,
    GridSearch,
    Group,
    List,
    Path,
    RandomSearch,
    Range,
    Tree,
)

FEW = 400  # leaves that a test may look at one by one

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-9, 9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3),
)
keys = st.one_of(st.sampled_from("abcdefgh"), st.text(max_size=2))


def _branching(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.dictionaries(keys, children, max_size=4),
        st.lists(children, max_size=3),
        st.lists(children, min_size=1, max_size=4).map(lambda values: List(tuple(values))),
        st.integers(1, 3).flatmap(lambda length: _zipped(children, length)),
    )


def _zipped(children: st.SearchStrategy[Any], length: int) -> st.SearchStrategy[Any]:
    """Knobs that advance together; equal labels have equal lengths."""
    values = st.lists(children, min_size=length, max_size=length).map(tuple)
    return st.sampled_from("xy").flatmap(
        lambda name: st.dictionaries(
            keys, values.map(lambda taken: List(taken, f"{name}{length}")), min_size=2, max_size=3
        )
    )


int_ranges = st.tuples(st.integers(1, 9), st.integers(0, 9)).map(
    lambda pair: Range(pair[0], sum(pair), "int")
)
float_ranges = st.tuples(st.floats(0.1, 9), st.floats(0.1, 9), st.booleans()).map(
    lambda drawn: Range(min(drawn[:2]), max(drawn[:2]), "float", log=drawn[2])
)

discrete = st.recursive(scalars, _branching, max_leaves=12)
continuous = st.recursive(scalars | int_ranges | float_ranges, _branching, max_leaves=12)


def _few(tree: Tree) -> bool:
    return (size(tree) or 0) <= FEW


grids = st.dictionaries(keys, discrete, max_size=4).filter(_few)
"""Configs whose value sets are lists, conditional knobs and lists within lists included."""

searches = st.dictionaries(keys, continuous, max_size=4).map(
    lambda tree: {**tree, "rate": Range(0.0, 1.0, "float")}
)
"""Configs whose value sets are lists and ranges, of which there is no end of leaves."""


def expanded(tree: Tree) -> list[Any]:
    """Every leaf in grid order, by the definition: the first axis varies slowest, then come the others."""
    match axes(tree):
        case ():
            return [tree]
        case (axis, *_):
            paths = [at for at, _ in axis]
            return [leaf for pick in _values(axis) for leaf in expanded(_placed(tree, paths, pick))]


def _values(axis: Axis) -> list[tuple[Any, ...]]:
    """What the lists of an axis become, in order."""
    together = zip(*(values.values for _, values in axis), strict=True)
    return [pick for values in together for pick in product(*map(expanded, values))]


def _placed(tree: Tree, paths: list[Path], pick: tuple[Any, ...]) -> Tree:
    """The tree with these leaves at these paths."""
    for path, leaf in zip(paths, pick, strict=True):
        tree = _with(tree, path, leaf)
    return tree


def _with(tree: Any, path: Path, leaf: Any) -> Any:
    if not path:
        return leaf
    step, *rest = path
    items = enumerate(tree) if isinstance(tree, list) else tree.items()
    changed = {key: _with(value, tuple(rest), leaf) if key == step else value for key, value in items}
    return list(changed.values()) if isinstance(tree, list) else changed


def file(*generators: Generator, **facts: Any) -> ExperimentFile:
    """An experiment file with these groups."""
    return ExperimentFile("experiment", tuple(map(Group, generators)), **facts)


def optimizer(lr: Tree, weight_decay: Tree = 0.0) -> dict[str, Tree]:
    """The reference's `train` section around two knobs."""
    args: dict[str, Tree] = {"lr": lr, "weight_decay": weight_decay}
    return {"epochs": 1, "batch_size": 128, "optimizer": {"name": "Adam", "args": args}}


MIXED = (
    Config({"user_knobs": {"model_type": "vit"}, "train": optimizer(1e-4, 1e-6) | {"batch_size": 256}}),
    GridSearch(
        {"user_knobs": {"model_type": "vit"}, "train": optimizer(List((1e-4, 1e-5)), List((1e-6, 1e-5)))}
    ),
    RandomSearch(
        {
            "train": optimizer(Range(1e-4, 9e-4, "float"), Range(1e-5, 1e-4, "float"))
            | {"batch_size": List((64, 128))}
        },
        num_runs=6,
    ),
)
"""The reference's last example: a config, a grid and a random search, 1 + 4 + 6 runs."""
