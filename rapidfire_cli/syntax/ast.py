"""The AST: what an experiment file means, whatever its notation.

Equality is about meaning: two files that say the same in YAML, TOML, JSON or Python give equal ASTs, so spans
stand beside the AST (`origins`, `keys`) and take no part in comparison.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from rapidfire_cli.problems import Problem, Span
from rapidfire_cli.terms import DEFAULT_SEED, Direction, Execution, Objective, Plain, Tracker, WarmStart

if TYPE_CHECKING:
    from rapidfire_cli.stopping.rule import Rule
    from rapidfire_cli.syntax.conditions.tree import Expression

Path: TypeAlias = tuple[str | int, ...]
"""Where a node stands: keys, and indices into lists (`("train", "optimizer", "args", "lr")`).

Inside a `!list`, the index of the alternative is a step of its own: `("train", "batch_size", 1)`."""

Tree: TypeAlias = "None | bool | int | float | str | list[Tree] | dict[str, Tree] | List | Range"
"""A config in which value sets may stand where a knob's value would stand."""

Origins: TypeAlias = Mapping[Path, Span]
"""Where each value (or key) of the file was written, by its path from the file's root."""


Conditions: TypeAlias = "tuple[Expression, ...]"
"""`where`: what no leaf config may make false; `exclude`: what none may make true."""


@dataclass(frozen=True, slots=True)
class List:
    """A discrete value set; the alternatives may hold value sets of their own."""

    values: tuple[Tree, ...]
    label: str | None = None  # lists of one label and one context advance together


@dataclass(frozen=True, slots=True)
class Range:
    """An interval to draw from, both ends included; `start` ≤ `end`."""

    start: int | float
    end: int | float
    dtype: Literal["int", "float"]
    log: bool = False
    step: int | float | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """A leaf config of its own."""

    tree: dict[str, Tree]
    replicates: int = field(default=1, kw_only=True)
    seed: int | None = field(default=None, kw_only=True)  # None for that of the file
    warm_start: WarmStart | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class GridSearch:
    """Every combination of the lists' values, in file order, last knob fastest."""

    tree: dict[str, Tree]
    early_stopping: "Rule | None" = None
    replicates: int = field(default=1, kw_only=True)
    where: Conditions = field(default=(), kw_only=True)
    exclude: Conditions = field(default=(), kw_only=True)


@dataclass(frozen=True, slots=True)
class RandomSearch:
    """`num_runs` distinct leaf configs drawn independently."""

    tree: dict[str, Tree]
    num_runs: int
    early_stopping: "Rule | None" = None
    replicates: int = field(default=1, kw_only=True)
    where: Conditions = field(default=(), kw_only=True)
    exclude: Conditions = field(default=(), kw_only=True)


@dataclass(frozen=True, slots=True)
class SuccessiveHalving:
    """`num_runs` drawn leaf configs of which each rung keeps the best (Li et al. 2018, Algorithm 1)."""

    tree: dict[str, Tree]  # train.epochs is max_epochs
    num_runs: int
    min_epochs: int
    max_epochs: int
    reduction_factor: int
    metric: str
    direction: Direction
    min_early_stopping_rate: int = 0
    mode: Literal["sync", "async"] = "sync"  # async: promoted without waiting for the rung (Algorithm 2)
    replicates: int = field(default=1, kw_only=True)
    where: Conditions = field(default=(), kw_only=True)
    exclude: Conditions = field(default=(), kw_only=True)


@dataclass(frozen=True, slots=True)
class Hyperband:
    """Brackets of successive halving, from many short runs to a few long ones (Li et al. 2018, JMLR 18)."""

    tree: dict[str, Tree]  # train.epochs is max_epochs
    max_epochs: int
    metric: str
    direction: Direction
    min_epochs: int = 1
    reduction_factor: int = 3
    replicates: int = field(default=1, kw_only=True)
    where: Conditions = field(default=(), kw_only=True)
    exclude: Conditions = field(default=(), kw_only=True)


@dataclass(frozen=True, slots=True)
class AdaptiveSearch:
    """`startup` leaf configs drawn as by a random search, and others proposed from the results."""

    tree: dict[str, Tree]
    num_runs: int  # startup runs included
    metric: str
    direction: Direction
    sampler: Literal["tpe", "gp", "cmaes", "qmc"] = "tpe"
    startup: int | None = None  # None for what is usual with the sampler
    early_stopping: "Rule | None" = None
    where: Conditions = field(default=(), kw_only=True)
    exclude: Conditions = field(default=(), kw_only=True)

    @property
    def replicates(self) -> int:
        """One run of each leaf config: a proposal follows from single results."""
        return 1


@dataclass(frozen=True, slots=True)
class PopulationTraining:
    """`population` drawn leaf configs; every some epochs, forks of the best runs replace the worst ones."""

    tree: dict[str, Tree]
    population: int
    perturb_every: int  # epochs of a round, or of a run's interval
    metric: str
    direction: Direction
    quantile: float = 0.25  # of the population that forks replace, and of which they are made
    resample: float = 0.25  # the probability that a fork's knob is drawn anew instead of perturbed
    perturb: list[str] | None = None  # the knobs that forks change; None for all that vary
    mode: Literal["sync", "async"] = "sync"  # in rounds, or each run as soon as it has trained its interval
    where: Conditions = field(default=(), kw_only=True)
    exclude: Conditions = field(default=(), kw_only=True)

    @property
    def replicates(self) -> int:
        """One run of each leaf config."""
        return 1

    @property
    def forks(self) -> int:
        """How many runs forks replace after each round; without rounds, at most after as many epochs."""
        return int(self.population * self.quantile)

    @property
    def epochs(self) -> int:
        """How many epochs the population trains."""
        train = self.tree["train"]
        epochs = train["epochs"] if isinstance(train, dict) else None
        assert isinstance(epochs, int), "the parser accepts nothing else"
        return epochs

    @property
    def rounds(self) -> int:
        """How many moments there are at which forks replace runs."""
        return (self.epochs - 1) // self.perturb_every


Bracketed: TypeAlias = SuccessiveHalving | Hyperband
"""The generators whose runs pass rungs."""

Generator: TypeAlias = Config | GridSearch | RandomSearch | Bracketed | AdaptiveSearch | PopulationTraining


@dataclass(frozen=True, slots=True)
class Group:
    """A generator and its place in the file."""

    generator: Generator
    at: Path = field(default=(), compare=False)  # of the generator's mapping, from the file's root


@dataclass(frozen=True, slots=True)
class ExperimentFile:
    """A whole experiment file, parsed."""

    name: str
    groups: tuple[Group, ...]  # nested lists of groups flattened, in file order
    mlspec: str | None = None
    data: dict[str, Plain] | None = None
    seed: int = DEFAULT_SEED
    objective: Objective | None = None
    execution: Execution = field(default_factory=Execution)
    trackers: tuple[Tracker, ...] = ()  # that runs are logged to
    origins: Origins = field(default_factory=dict, compare=False, repr=False)
    keys: Origins = field(default_factory=dict, compare=False, repr=False)
    warnings: tuple[Problem, ...] = field(default=(), compare=False)


def is_value(tree: "Tree | Plain") -> bool:
    """Whether a list is one value: it has no mappings or value sets, at any depth.

    The knobs of any other list have the index as a step of their path.
    """
    return not isinstance(tree, dict | List | Range) and (
        not isinstance(tree, list) or all(map(is_value, tree))
    )
