"""A config's value sets as named parameters: to choose a leaf config, and to recognize the choices in one.

A parameter is named by its knob's path; inside a `!list`, by the alternative too. The lists of a `!zip` are
one parameter. A float range with a `step` is chosen by index, so that the values are the exact ones.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, TypeAlias, assert_never, cast

from rapidfire_cli.manifest.interval import points
from rapidfire_cli.syntax.ast import List, Range, Tree
from rapidfire_cli.syntax.serialize import spelt
from rapidfire_cli.terms import Plain, canonical


@dataclass(frozen=True, slots=True)
class Choices:
    """One of `many` alternatives, by index."""

    many: int


@dataclass(frozen=True, slots=True)
class Integers:
    """An integer from `low` to `high`, which is a whole number of steps away."""

    low: int
    high: int
    step: int = 1
    log: bool = False


@dataclass(frozen=True, slots=True)
class Floats:
    """A number from `low` to `high`."""

    low: float
    high: float
    log: bool = False


Distribution: TypeAlias = Choices | Integers | Floats
Choose: TypeAlias = Callable[[str, Distribution], int | float]


class Choice(NamedTuple):
    """A parameter's distribution and its value."""

    distribution: Distribution
    value: int | float


Chosen: TypeAlias = Mapping[str, Choice]
"""The choices that make a leaf config, by parameter."""


def leaf(tree: Tree, choose: Choose) -> Plain:
    """The leaf config that the choices make; a conditional knob is asked for only where it exists."""
    return _leaf(tree, choose, "", "")


def recognized(tree: Tree, config: Plain) -> Chosen | None:
    """The choices that make the leaf config; None if the tree cannot give it."""
    return next(_matches(tree, config, "", "", {}), None)


def parameters(tree: Tree) -> dict[str, Distribution]:
    """All parameters of the tree, those of every alternative included."""
    return dict(_parameters(tree, "", ""))


def knobs_of(tree: Tree) -> Iterator[tuple[str, str]]:
    """Each parameter with the dotted path of its knob, without the alternatives in between.

    A parameter that several lists share comes with the path of each.
    """
    return _knobs(tree, "", "", "")


def at(among: Distribution, fraction: float) -> int | float:
    """The parameter's value at a fraction, from 0 to 1, of its width."""
    match among:
        case Choices(many):
            return min(int(fraction * many), many - 1)
        case Integers(low, high, log=True):
            return min(max(round(_between(math.log(low - 0.5), math.log(high + 0.5), fraction)), low), high)
        case Integers(low, high, step):
            many = (high - low) // step + 1
            return low + step * min(int(fraction * many), many - 1)
        case Floats(low, high, log):
            value = (
                _between(math.log(low), math.log(high), fraction) if log else low + fraction * (high - low)
            )
            return min(max(value, low), high)
    assert_never(among)


def fraction(among: Distribution, value: float) -> float:
    """The fraction of the parameter's width at which the value is, from 0 to 1; the inverse of `at`."""
    match among:
        case Choices(many):
            return (value + 0.5) / many
        case Integers(low, high, log=True):
            return _part(math.log(low - 0.5), math.log(high + 0.5), math.log(value))
        case Integers(low, high, step):
            return ((value - low) // step + 0.5) / ((high - low) // step + 1)
        case Floats(low, high, log):
            return _part(*map(math.log, (low, high, value))) if log else _part(low, high, value)
    assert_never(among)


def _between(low: float, high: float, fraction: float) -> float:
    """The number whose logarithm is at the fraction between both."""
    return math.exp(low + fraction * (high - low))


def _part(low: float, high: float, value: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _parameters(tree: Tree, at: str, context: str) -> Iterator[tuple[str, Distribution]]:
    match tree:
        case List(values, label):
            yield _name(at, context, label), Choices(len(values))
            for index, value in enumerate(values):
                yield from _parameters(value, f"{at}[{index}]", f"{at}[{index}]")
        case Range():
            yield at, _distribution(tree)
        case dict():
            for key, value in tree.items():
                yield from _parameters(value, _below(at, key), context)
        case list():
            for place, value in enumerate(tree):
                yield from _parameters(value, _below(at, place), context)
        case _:
            pass


def _knobs(tree: Tree, at: str, context: str, knob: str) -> Iterator[tuple[str, str]]:
    match tree:
        case List(values, label):
            yield _name(at, context, label), knob
            for index, value in enumerate(values):
                yield from _knobs(value, f"{at}[{index}]", f"{at}[{index}]", knob)
        case Range():
            yield at, knob
        case dict():
            for key, value in tree.items():
                yield from _knobs(value, _below(at, key), context, _below(knob, key))
        case list():
            for place, value in enumerate(tree):
                yield from _knobs(value, _below(at, place), context, _below(knob, place))
        case _:
            pass


def _leaf(tree: Tree, choose: Choose, at: str, context: str) -> Plain:
    match tree:
        case List(values, label):
            index = int(choose(_name(at, context, label), Choices(len(values))))
            inner = f"{at}[{index}]"
            return _leaf(values[index], choose, inner, inner)
        case Range():
            return _value(tree, choose(at, _distribution(tree)))
        case dict():
            return {key: _leaf(value, choose, _below(at, key), context) for key, value in tree.items()}
        case list():
            return [_leaf(value, choose, _below(at, place), context) for place, value in enumerate(tree)]
        case _:
            return tree


def _matches(tree: Tree, config: Plain, at: str, context: str, known: Chosen) -> Iterator[Chosen]:
    """Every way to make the config that agrees with the known choices."""
    match tree:
        case List(values, label):
            name = _name(at, context, label)
            for index, value in enumerate(values):
                choice = Choice(Choices(len(values)), index)
                if known.get(name, choice) == choice:
                    inner = f"{at}[{index}]"
                    yield from _matches(value, config, inner, inner, {**known, name: choice})
        case Range():
            if (found := _recognized(tree, config)) is not None:
                yield {**known, at: Choice(_distribution(tree), found)}
        case dict():
            if isinstance(config, dict) and config.keys() == tree.keys():
                pairs = [(value, config[key], _below(at, key)) for key, value in tree.items()]
                yield from _all(pairs, context, known)
        case list():
            if isinstance(config, list) and len(config) == len(tree):
                both = enumerate(zip(tree, config, strict=True))
                yield from _all(
                    [(value, one, _below(at, place)) for place, (value, one) in both], context, known
                )
        case _:
            if canonical(spelt(tree)) == canonical(config):
                yield known


def _all(parts: list[tuple[Tree, Plain, str]], context: str, known: Chosen) -> Iterator[Chosen]:
    if not parts:
        yield known
        return
    (tree, config, at), *others = parts
    for found in _matches(tree, config, at, context, known):
        yield from _all(others, context, found)


def _below(at: str, key: str | int) -> str:
    name = str(key) or "''"  # an empty key is a step of its own, too
    return f"{at}.{name}" if at else name


def _name(at: str, context: str, label: str | None) -> str:
    """The parameter of a list: of its own, or that of all lists with the label in the same alternative."""
    return at if label is None else f"{context}!zip {label}"


def _distribution(interval: Range) -> Distribution:
    if interval.dtype == "int":
        low, step, many = int(interval.start), int(interval.step or 1), points(interval) or 1
        return Integers(low, low + step * (many - 1), step, interval.log)
    if interval.step is not None:
        return Integers(0, (points(interval) or 1) - 1)
    return Floats(float(interval.start), float(interval.end), interval.log)


def _value(interval: Range, value: int | float) -> int | float:
    """The knob's value for a parameter's."""
    if interval.dtype == "int":
        return int(value)
    if interval.step is None:
        return float(value)
    return float(Fraction(repr(interval.start)) + int(value) * Fraction(repr(interval.step)))


def _recognized(interval: Range, config: Plain) -> int | float | None:
    """The parameter's value for a knob's; None if it is not in the interval."""
    if isinstance(config, bool) or type(config).__name__ != interval.dtype:
        return None
    value = cast("int | float", config)
    if not interval.start <= value <= interval.end:
        return None
    if interval.step is None:
        return value
    steps = (Fraction(repr(value)) - Fraction(repr(interval.start))) / Fraction(repr(interval.step))
    if steps.denominator != 1:
        return None
    return value if interval.dtype == "int" else int(steps)
