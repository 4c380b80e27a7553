"""The work that every contender does: a grid of runs, as a value."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypeAlias

Leaf: TypeAlias = dict[str, Any]
Figures: TypeAlias = list[float]
"""A run's loss and accuracy over the training split, then over the validation split, epoch by epoch."""

SEED = 42
PROCESSES = 2  # that train side by side, where a contender can


@dataclass(frozen=True, slots=True)
class Work:
    """Every combination of the `axes`' values, last axis fastest; both are keyed by dotted knob paths."""

    mlspec: str
    constants: Mapping[str, Any]
    axes: Mapping[str, list[Any]]
    data: Any = None  # the file's `data` section

    @property
    def runs(self) -> int:
        """How many combinations there are."""
        return math.prod(map(len, self.axes.values()))

    @property
    def combinations(self) -> Iterator[dict[str, Any]]:
        """The varied knobs of each run, in order."""
        return (dict(zip(self.axes, values, strict=True)) for values in product(*self.axes.values()))

    @property
    def file(self) -> str:
        """An experiment file of these runs."""
        lists = {path: {"!list": values} for path, values in self.axes.items()}
        data = {} if self.data is None else {"data": self.data}
        return json.dumps(
            {"mlspec": self.mlspec, **data, "seed": SEED, "gridsearch": self.leaf(lists)}, indent=1
        )

    def leaf(self, varied: Mapping[str, Any]) -> Leaf:
        """The nested config of the constants and these knobs."""
        return nested({**self.constants, **varied})

    def cut(self, axes: Mapping[str, list[Any]]) -> "Work":
        """The same with some of the axes replaced."""
        return replace(self, axes={**self.axes, **axes})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a contender made of the work."""

    seconds: float  # from the first run's start, data loading included, to the last one's end
    figures: dict[str, Figures]  # by `key` of the leaf config


def nested(flat: Mapping[str, Any]) -> Leaf:
    """Dotted paths as nested mappings."""
    tree: Leaf = {}
    for path, value in flat.items():
        *parents, knob = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[knob] = value
    return tree


def key(leaf: Leaf) -> str:
    """A leaf config's name in an outcome."""
    return json.dumps(leaf, sort_keys=True)


DIGITS = Work(
    mlspec="specs.digits:DigitsSpec",
    constants={
        "user_knobs.model": "mlp",
        "train.epochs": 5,
        "train.optimizer.name": "Adam",
        "named_metrics": ["top1_accuracy"],
    },
    axes={
        "user_knobs.hidden": [64, 128],
        "user_knobs.dropout": [0.0, 0.2],
        "train.batch_size": [32, 64],
        "train.optimizer.args.lr": [3e-4, 1e-3, 3e-3, 1e-2],
    },
)


def nothing(runs: int) -> Work:
    """Runs that do nothing, for one epoch."""
    return Work(
        mlspec="bench.nothing:NothingSpec",
        constants={"train.epochs": 1, "train.batch_size": 1, "train.optimizer.name": "SGD"},
        axes={"user_knobs.number": list(range(runs))},
    )
