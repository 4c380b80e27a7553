"""Add the knob's path to problems in TOML, where the tables of one config can be far apart."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from rapidfire_cli.problems import Problem, Span
from rapidfire_cli.syntax.ast import Path
from rapidfire_cli.syntax.nodes import Places

_TABLE = re.compile(r"\.!\w+(?:\[\d+\]|\.\w+)?")


def name_paths(problems: Iterable[Problem], places: Iterable[Places]) -> Iterator[Problem]:
    """Add the path of the knob at its span to each problem that does not name it."""
    knobs: dict[Span, Path] = {}
    for problem in problems:
        knobs = knobs or {span: path for found in places for path, spans in found.items() for span in spans}
        path = knobs.get(problem.span) if problem.span else None
        yield _named(problem, spoken(path)) if path else problem


def spoken(path: Path) -> str:
    """A path as problems write it, items counted from 1 and tags left out: `config_group[2].config.train`."""
    steps = (f"[{step + 1}]" if isinstance(step, int) else f".{step}" for step in path)
    return _TABLE.sub("", "".join(steps)).removeprefix(".")


def _named(problem: Problem, knob: str) -> Problem:
    steps = knob.split(".")
    tails = (".".join(steps[index:]) for index in range(len(steps)))
    if any(f"`{tail}`" in problem.message for tail in tails):
        return problem
    return replace(problem, message=f"{problem.message}: `{knob}`")
