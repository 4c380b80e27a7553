"""Short ways to say what a text means and what is wrong with it."""

from typing import Any

from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.syntax.ast import ExperimentFile, Generator
from rapidfire_cli.syntax.nodes import Alternatives, Interval, Mapping, Node, Scalar, Sequence
from rapidfire_cli.syntax.parser import parse
from rapidfire_cli.syntax.readers import read

ADAM = "optimizer: {name: Adam, args: {lr: 1e-3}}"
TRAIN = f"train: {{epochs: 1, batch_size: 8, {ADAM}}}"


def understood(text: str, file: str = "f.yaml") -> ExperimentFile:
    return parse(text.encode(), file)


def generator(text: str) -> Generator:
    """The only one of a file."""
    (group,) = understood(text).groups
    return group.generator


def refused(text: str | bytes) -> tuple[Problem, ...]:
    """The problems of a file that is wrong."""
    try:
        parse(text if isinstance(text, bytes) else text.encode(), "f.yaml")
    except Refusal as refusal:
        return refusal.problems
    raise AssertionError(f"understood: {text!r}")


def wrong(text: str | bytes) -> list[str]:
    """The problems as `code line:column`."""
    return [
        f"{problem.code} {problem.span.line}:{problem.span.column}"
        for problem in refused(text)
        if problem.span
    ]


def knobs(text: str) -> Any:
    """What stands under user_knobs in a config."""
    file = understood(f"config:\n  {TRAIN}\n  user_knobs:\n    {text}\n")
    (group,) = file.groups
    return group.generator.tree["user_knobs"]


def data(text: str, file: str = "f.yaml") -> Any:
    """The nodes of a text as plain data; value sets as a tuple of their tag and what they hold."""
    return _data(read(text.encode(), file).root)


def _data(node: Node) -> Any:
    match node:
        case Scalar(value):
            return value
        case Sequence(items):
            return [_data(item) for item in items]
        case Mapping(entries):
            return {entry.key: _data(entry.node) for entry in entries}
        case Alternatives(items):
            return ("!list", [_data(item) for item in items])
        case Interval(parts):
            return ("!range", _data(parts))
