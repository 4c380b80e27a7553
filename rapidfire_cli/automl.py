"""The Python API: value sets and generators as objects, checked by the same grammar as files."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias

from rapidfire_cli.manifest.check import checked
from rapidfire_cli.problems import Problem, Refusal, Span
from rapidfire_cli.syntax import compose
from rapidfire_cli.syntax.ast import ExperimentFile, Path
from rapidfire_cli.syntax.nodes import Document, Node, Scalar, Sequence
from rapidfire_cli.syntax.parser import understand
from rapidfire_cli.terms import Direction

Config: TypeAlias = Mapping[str, Any]
"""Nested dicts of knobs, with value sets where a generator takes them."""

PYTHON = "<python>"
MOST = 10_000_000  # values: what a program made may be longer than a file (assumed)
"""What stands in a problem's place for the name of a file."""

_LOWEST, _BEYOND = -(2**63), 2**63
_PLAIN = "None, a bool, int, float or str, or lists, tuples, sets and dicts of these"


@dataclass(frozen=True, slots=True)
class List:
    """A discrete value set: the values to try, all of one type."""

    values: Any


@dataclass(frozen=True, slots=True)
class Zip:
    """A discrete value set that advances together with the others of the same label."""

    values: Any
    label: str


@dataclass(frozen=True, slots=True)
class Range:
    """An interval to draw from, both ends included; two ints make an int range, unless `dtype` is float."""

    start: int | float
    end: int | float
    dtype: Literal["int", "float"] | None = None
    log: bool = False
    step: int | float | None = None


LIST, RANGE = List, Range


class Generator:
    """A config with value sets; `arguments` are the generator's own keys in a file."""

    word: ClassVar[str]

    def __init__(self, cfg: Config, **arguments: Any) -> None:
        self.cfg = cfg
        self.arguments = arguments


class GridSearch(Generator):
    """Every combination of the lists' values."""

    word = "gridsearch"


class RandomSearch(Generator):
    """`num_runs` distinct combinations, drawn independently."""

    word = "randomsearch"

    def __init__(self, cfg: Config, num_runs: int, **arguments: Any) -> None:
        super().__init__(cfg, num_runs=num_runs, **arguments)


class SuccessiveHalving(Generator):
    """`num_runs` combinations drawn from ranges, of which each rung keeps the best by `metric`."""

    word = "sha"

    def __init__(  # noqa: PLR0913, PLR0917 - the reference's signature
        self,
        cfg: Config,
        num_runs: int,
        min_epochs: int,
        max_epochs: int,
        reduction_factor: int,
        metric: str,
        direction: Direction,
        min_early_stopping_rate: int = 0,
        **arguments: Any,
    ) -> None:
        super().__init__(
            cfg,
            num_runs=num_runs,
            min_epochs=min_epochs,
            max_epochs=max_epochs,
            reduction_factor=reduction_factor,
            metric=metric,
            direction=direction,
            min_early_stopping_rate=min_early_stopping_rate,
            **arguments,
        )


class Hyperband(Generator):
    """Brackets of successive halving, from many short runs to a few long ones."""

    word = "hyperband"

    def __init__(
        self, cfg: Config, max_epochs: int, metric: str, direction: Direction, **arguments: Any
    ) -> None:
        super().__init__(cfg, max_epochs=max_epochs, metric=metric, direction=direction, **arguments)


class AdaptiveSearch(Generator):
    """Some draws, then combinations proposed from the results of earlier runs: `num_runs` in all."""

    word = "search"

    def __init__(
        self, cfg: Config, num_runs: int, metric: str, direction: Direction, **arguments: Any
    ) -> None:
        super().__init__(cfg, num_runs=num_runs, metric=metric, direction=direction, **arguments)


class PopulationTraining(Generator):
    """`population` draws; after every `perturb_every` epochs, forks of the best replace the worst."""

    word = "pbt"

    def __init__(
        self,
        cfg: Config,
        population: int,
        perturb_every: int,
        metric: str,
        direction: Direction,
        **arguments: Any,
    ) -> None:
        said = {"population": population, "perturb_every": perturb_every}
        super().__init__(cfg, **said, metric=metric, direction=direction, **arguments)


def experiment_file(ml_config: Any, **facts: Any) -> ExperimentFile:
    """The experiment file with the same meaning; `facts` are its other top-level keys, None if not given.

    `ml_config` is a config, a generator, or a list of them. Raises Refusal with every problem, each located
    by its knob's path.
    """
    reading = _Reading()
    root = reading.file(ml_config, {key: value for key, value in facts.items() if value is not None})
    try:
        file = checked(understand(Document(root, tuple(reading.problems)), PYTHON))
    except Refusal as refusal:
        raise Refusal(map(reading.placed, refusal.problems)) from None
    return replace(
        file,
        origins={path: reading.place(span) for path, span in file.origins.items()},
        keys={path: reading.place(span) for path, span in file.keys.items()},
        warnings=tuple(map(reading.placed, file.warnings)),
    )


def dotted(cls: type) -> str | None:
    """The path by which another process imports a class; None where it cannot."""
    importable = cls.__module__ != "__main__" and "<locals>" not in cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}" if importable else None


class _Reading:
    """Python objects in, nodes out; a span's line counts the objects, and stands for the knob's path."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._paths: list[str] = []

    def file(self, ml_config: Any, facts: Config) -> Node:
        """The root of a file: its facts, and the config group under the key that opens it."""
        span = self._span(())
        parts = [*self._pairs(facts, ()), *self._group(ml_config, ())]
        return compose.mapping(parts, span, self.problems)

    def place(self, span: Span) -> Span:
        """The span with the knob's path instead of a line."""
        return Span(self._place(span.line), 0, 0)

    def placed(self, problem: Problem) -> Problem:
        """The problem with knob paths as places, also in its hint."""
        hint = re.sub(rf"{PYTHON}:(\d+):1", lambda found: self._place(int(found[1])), problem.hint)
        return replace(problem, hint=hint, span=problem.span and self.place(problem.span))

    def _place(self, line: int) -> str:
        return f"{PYTHON} {self._paths[line - 1]}"

    def _span(self, path: Path) -> Span:
        self._paths.append(_spoken(path) or "ml_config")
        span = Span(PYTHON, len(self._paths), 1)
        if len(path) > compose.MAX_DEPTH:
            raise Refusal([self.placed(compose.too_deep(span))])
        if len(self._paths) > MOST:
            raise Refusal([self.placed(compose.too_many(span, MOST, hint=""))])
        return span

    def _group(self, group: Any, path: Path) -> Iterator[Node]:
        """A config group as a key and its value: `gridsearch`, `config_group` for a list, else `config`."""
        match group:
            case Generator():
                yield Scalar(group.word, self._span((*path, group.word)))
                yield self._generator(group, (*path, group.word))
            case list() | tuple():
                yield Scalar("config_group", self._span((*path, "config_group")))
                yield self._groups(group, (*path, "config_group"))
            case _:
                yield Scalar("config", self._span((*path, "config")))
                yield self._node(group, (*path, "config"))

    def _groups(self, groups: Any, path: Path) -> Node:
        """A list of config groups, nested ones included."""
        span = self._span(path)
        return Sequence(tuple(self._item(group, (*path, at)) for at, group in enumerate(groups)), span)

    def _item(self, group: Any, path: Path) -> Node:
        if isinstance(group, list | tuple):
            return self._groups(group, path)
        span = self._span(path)
        return compose.mapping([*self._group(group, path)], span, self.problems)

    def _generator(self, generator: Generator, path: Path) -> Node:
        if not isinstance(generator.cfg, dict):
            return self._node(generator.cfg, path)
        span = self._span(path)
        parts = [*self._pairs(generator.arguments, path), *self._pairs(generator.cfg, path)]
        return compose.mapping(parts, span, self.problems)

    def _pairs(self, knobs: Config, path: Path) -> Iterator[Node]:
        for key, value in knobs.items():
            yield self._node(key, (*path, str(key)))
            yield self._node(value, (*path, str(key)))

    def _node(self, value: Any, path: Path) -> Node:
        """The node of a value that may hold value sets."""
        span = self._span(path)
        match value:
            case List(values):
                return compose.tagged("!list", self._node(values, path), span, self.problems)
            case Zip(values, label):
                said = {"with": label, "values": values}
                return compose.tagged("!zip", self._node(said, path), span, self.problems)
            case Range():
                return compose.tagged("!range", self._node(_said(value), path), span, self.problems)
            case dict():
                return compose.mapping([*self._pairs(value, path)], span, self.problems)
            case list() | tuple():
                items = (self._node(item, (*path, index)) for index, item in enumerate(value))
                return Sequence(tuple(items), span)
            case set() | frozenset() if all(isinstance(item, type | int | float | str) for item in value):
                return self._node(sorted(map(_named, value), key=_in_order), path)
            case type() if dotted(value):
                return Scalar(_torchs_own(value, path) or dotted(value), span)
            case int() if not _LOWEST <= value < _BEYOND:
                self.problems.append(compose.too_big(f"{value:#x}", span))
                return Scalar(0, span)
            case None | bool() | int() | float() | str():
                return compose.scalar(_exact(value), span, self.problems)
        self.problems.append(_odd(value, span))
        return Scalar(None, span)


def _said(interval: Range) -> dict[str, Any]:
    """The arguments of the interval that are not defaults."""
    more = {"dtype": interval.dtype, "log": interval.log or None, "step": interval.step}
    said = {key: value for key, value in more.items() if value is not None}
    return {"start": interval.start, "end": interval.end, **said}


def _torchs_own(cls: type, path: Path) -> str | None:
    """The name by which files call a class of torch.optim, where an optimizer or scheduler is named."""
    names = [step for step in path if isinstance(step, str)]
    called = names[-1:] == ["name"] and {"optimizer", "lr_scheduler"} & set(names)
    return cls.__name__ if called and f"{cls.__module__}.".startswith("torch.optim.") else None


def _named(item: Any) -> Any:
    return (dotted(item) or item) if isinstance(item, type) else item


def _in_order(item: Any) -> tuple[str, Any]:
    return type(item).__name__, f"{item}" if isinstance(item, type) else item


def _exact(value: None | bool | int | float | str) -> None | bool | int | float | str:
    """The value as a built-in type: enumerations and NumPy's floats become plain values."""
    match value:
        case None | bool():
            return value
        case int():
            return int(value)
        case float():
            return float(value)
        case str():
            return str.__str__(value)


def _odd(value: Any, span: Span) -> Problem:
    found, hint = f"a value of type {type(value).__name__}", ""
    if isinstance(value, type):
        found, hint = f"class {value.__qualname__} of {value.__module__}", "define it at the top of a module"
    elif isinstance(value, Generator):
        hint = "use a generator on its own or in a list of config groups"
    elif hasattr(value, "tolist"):
        hint = "convert it with `.tolist()`"
    elif callable(value):
        hint = "write its dotted path, such as 'package.module:name'"
    return Problem("E520", "a knob's value must be plain data", span, found, _PLAIN, hint)


def _spoken(path: Path) -> str:
    """A path as problems write it, items counted from 1: `config_group[2].config.train`."""
    steps = (f"[{step + 1}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).removeprefix(".")
