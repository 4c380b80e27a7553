"""The AST as plain data: what TOML and JSON write, value sets as one-key tables."""

from dataclasses import fields
from typing import TYPE_CHECKING

from rapidfire_cli.syntax.ast import (
    AdaptiveSearch,
    Conditions,
    Config,
    ExperimentFile,
    Generator,
    GridSearch,
    Group,
    Hyperband,
    List,
    PopulationTraining,
    RandomSearch,
    Range,
    SuccessiveHalving,
    Tree,
)
from rapidfire_cli.terms import Execution, Objective, Plain, WarmStart

if TYPE_CHECKING:
    from rapidfire_cli.stopping.rule import Rule

KINDS: dict[type[Generator], str] = {
    Config: "config",
    GridSearch: "gridsearch",
    RandomSearch: "randomsearch",
    SuccessiveHalving: "sha",
    Hyperband: "hyperband",
    AdaptiveSearch: "search",
    PopulationTraining: "pbt",
}
"""The generators by the names that files give them."""


def whole(file: ExperimentFile) -> dict[str, Plain]:
    """The file as plain data, groups last; name and seed are always written, other defaults are not."""
    groups: list[Plain] = [_opened(group) for group in file.groups]
    said: dict[str, Plain] = {
        "experiment": file.name,
        "mlspec": file.mlspec,
        "data": file.data,
        "seed": file.seed,
        "objective": arguments(file.objective) if file.objective else None,
        "execution": arguments(file.execution) or None,
        "trackers": [*map(str, file.trackers)] or None,
    }
    opened: dict[str, Plain] = _opened(file.groups[0]) if len(groups) == 1 else {"config_group": groups}
    return {**{key: value for key, value in said.items() if value is not None}, **opened}


def arguments(record: "Generator | Range | Rule | Objective | Execution | WarmStart") -> dict[str, Plain]:
    """A record's fields without those at their default, so that new fields do not change digests."""
    said = {field.name: getattr(record, field.name) for field in fields(record)}
    unsaid = {field.name: field.default for field in fields(record)}
    return {key: spelt(value) for key, value in said.items() if value != unsaid[key]}


def spelt(tree: "Tree | Rule | Conditions | WarmStart") -> Plain:
    """A config as plain data."""
    match tree:
        case tuple():
            return _conditions(tree)
        case List(values, None):
            return {"!list": [spelt(value) for value in values]}
        case List(values, label):
            return {"!zip": {"with": label, "values": [spelt(value) for value in values]}}
        case Range():
            return {"!range": arguments(tree)}
        case dict():
            return {key: spelt(value) for key, value in tree.items()}
        case list():
            return [spelt(value) for value in tree]
        case None | bool() | int() | float() | str():
            return tree
        case WarmStart():
            return arguments(tree)
        case _:
            return {"rule": tree.word, **arguments(tree)}


def _conditions(conditions: Conditions) -> Plain:
    from rapidfire_cli.syntax.conditions.tree import text  # only files with filters wait for it

    return [text(condition) for condition in conditions]


def _opened(group: Group) -> dict[str, Plain]:
    """A group under the word that opens it, the generator's arguments beside the config's sections."""
    beside = arguments(group.generator)
    sections = beside.pop("tree")
    assert isinstance(sections, dict)
    return {KINDS[type(group.generator)]: {**beside, **sections}}
