"""Runs chosen by a condition on their knobs."""

from collections.abc import Callable

from rapidfire_cli.manifest.filters.evaluate import question
from rapidfire_cli.manifest.knob_paths import cell
from rapidfire_cli.problems import Span
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.syntax.conditions.located import known, understood
from rapidfire_cli.syntax.conditions.tree import knobs
from rapidfire_cli.terms import Run


def chooser(file: ExperimentFile, text: str, at: Span) -> Callable[[Run], bool]:
    """Whether the condition is true of a run; a run that lacks its knobs is not chosen.

    `at` is where the text stands. Raises Refusal when no run can have the knobs it names.
    """
    about = known(*(group.generator.tree for group in file.groups))
    condition = understood(text, at, about)
    names = tuple(dict.fromkeys(knob.path for knob in knobs(condition)))
    ask = question(condition, {name: place for place, name in enumerate(names)})

    def chosen(run: Run) -> bool:
        leaf = run.leaf
        return ask([cell(leaf, name) for name in names]) is True

    return chosen
