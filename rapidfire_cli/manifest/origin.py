"""Back from a run to the file: where the value of a knob was written."""

from collections.abc import Sequence
from typing import NamedTuple

from rapidfire_cli.manifest.size import Search, number_key
from rapidfire_cli.problems import Span
from rapidfire_cli.syntax.ast import Bracketed, ExperimentFile, Group, List, Origins, Path, Range, Tree
from rapidfire_cli.terms import Plain, Run


class Choice(NamedTuple):
    """An alternative of a list that a run took."""

    at: Path  # of the list, without the indices of alternatives
    taken: int  # from 1
    of: int


class Route(NamedTuple):
    """The way from a group's config to a knob of one of its runs."""

    steps: Path  # as origins have it: the indices of alternatives included
    choices: tuple[Choice, ...]
    end: Tree  # what the file says there


def origin(file: ExperimentFile, run: Run, knob: Sequence[str | int]) -> Span | None:
    """The place of the knob's value in this run, or else of its nearest parent.

    A step into a plain list is an index, as an int or in digits.
    """
    return nearest(file.origins, written(file, run, knob))


def key_of(file: ExperimentFile, run: Run, knob: Sequence[str | int]) -> Span | None:
    """The place of the knob's key in this run, or else of its nearest parent."""
    at = written(file, run, knob)
    while at and isinstance(at[-1], int):  # the knob is what holds the alternatives
        at = at[:-1]
    return file.keys.get(at) or origin(file, run, knob)


def written(file: ExperimentFile, run: Run, knob: Sequence[str | int]) -> Path:
    """The knob's path in the file, through the alternatives that the run took, as far as the file has it."""
    group = file.groups[run.group - 1]
    if isinstance(group.generator, Bracketed) and tuple(knob) == ("train", "epochs"):
        return (*group.at, "max_epochs")
    return (*group.at, *route(group.generator.tree, run.leaf, knob).steps)


def asking(file: ExperimentFile, group: Group) -> Span | None:
    """The place of the number of runs that a group draws, or else of the group."""
    key = number_key(group.generator) if isinstance(group.generator, Search) else ""
    return nearest(file.origins, (*group.at, key))


def nearest(origins: Origins, at: Path) -> Span | None:
    """The span of the path or of its nearest parent."""
    parents = (at[:length] for length in range(len(at), -1, -1))
    return next((origins[parent] for parent in parents if parent in origins), None)


def holds(tree: Tree, value: Plain) -> bool:
    """Whether the leaf is one of the tree's leaves."""
    match tree:
        case List(values):
            return any(holds(alternative, value) for alternative in values)
        case Range(start, end, dtype):
            return isinstance(value, int | float) and type(value).__name__ == dtype and start <= value <= end
        case dict():
            return (
                isinstance(value, dict)
                and tree.keys() == value.keys()
                and all(holds(tree[key], value[key]) for key in tree)
            )
        case list():
            return isinstance(value, list) and len(tree) == len(value) and all(map(holds, tree, value))
        case _:
            return type(tree) is type(value) and tree == value


def route(tree: Tree, value: Plain, knob: Sequence[str | int]) -> Route:
    """The knob's way through the alternatives that the leaf took, as far as the tree goes."""
    steps: list[str | int] = []
    choices: list[Choice] = []
    at: Path = ()
    for step in (*knob, None):
        while isinstance(tree, List):
            taken = next((place for place, branch in enumerate(tree.values) if holds(branch, value)), None)
            if taken is None:
                return Route(tuple(steps), tuple(choices), tree)
            choices.append(Choice(at, taken + 1, len(tree.values)))
            steps.append(taken)
            tree = tree.values[taken]
        match tree, value:
            case dict(), dict() if step in tree and step in value:
                key: str | int = str(step)
                tree, value = tree[str(step)], value[str(step)]
            case list(), list() if str(step).isdecimal() and int(str(step)) < len(tree):
                key = int(str(step))
                tree, value = tree[key], value[key]
            case _:
                break
        steps.append(key)
        at = (*at, key)
    return Route(tuple(steps), tuple(choices), tree)
