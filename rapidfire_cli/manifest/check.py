"""What the grammar cannot know about a file: whether its groups can have the runs they ask for."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from rapidfire_cli.manifest.counting import everything
from rapidfire_cli.manifest.filters.filter import Rule, rules
from rapidfire_cli.manifest.origin import asking, nearest
from rapidfire_cli.manifest.sampling import PATIENCE, idle, shortage, streams
from rapidfire_cli.problems import Problem, Refusal, Severity, Span
from rapidfire_cli.syntax.ast import (
    Config,
    ExperimentFile,
    GridSearch,
    Group,
    Hyperband,
    RandomSearch,
    SuccessiveHalving,
)
from rapidfire_cli.syntax.serialize import arguments
from rapidfire_cli.terms import canonical

if TYPE_CHECKING:
    from rapidfire_cli.manifest.filters.counts import Survey

LOOKED_AT = 500_000  # values that a file's rules look at: 0.7 s (measured), and again for expanding
DRAWN = 2**24  # characters of searches with their rules, draw by draw: a second's work (measured)

HINTS = {
    "where": "`where` removes the leaf configs for which its condition is false",
    "exclude": "`exclude` removes the leaf configs for which its condition is true",
}


def checked(file: ExperimentFile) -> ExperimentFile:
    """The file, with what is odd about its groups among its warnings. Raises Refusal as `check` finds."""
    if problems := check(file):
        raise Refusal(problems)
    return replace(file, warnings=(*file.warnings, *warnings(file)))


def check(file: ExperimentFile) -> tuple[Problem, ...]:
    """Everything wrong with the groups, in file order; nothing is drawn for it."""
    return tuple(_wrong(file))


def warnings(file: ExperimentFile) -> Iterator[Problem]:
    """The rules that are in vain: decided for grids, for searches told by their first draws."""
    left = DRAWN
    for group, fractions in zip(file.groups, streams(file), strict=True):
        match group.generator:
            case Config():
                pass
            case GridSearch() as grid:
                for rule in _survey(grid).idle if rules(grid) else ():
                    yield _idle(rule, _span(file, group, rule), f"none of {everything(grid):,} leaf configs")
            case (RandomSearch() | SuccessiveHalving() | Hyperband()) as search:
                drawn = bool(fractions) and bool(rules(search))
                left -= PATIENCE * len(canonical(arguments(search))) if drawn else 0
                for rule in idle(search, fractions) if drawn and fractions and left >= 0 else ():
                    yield _idle(rule, _span(file, group, rule), f"none of the first {PATIENCE:,} draws")
            case _:
                assert_never(group.generator)


def _wrong(file: ExperimentFile) -> Iterator[Problem]:
    if file.execution.on_oom:
        from rapidfire_cli.manifest.replacement import misplaced  # only files with changes wait for it

        yield from misplaced(file)
    spent = 0
    for group in file.groups:
        match group.generator:
            case Config():
                pass
            case GridSearch() as grid if rules(grid):
                needed = _effort(grid)
                if spent + needed > LOOKED_AT:
                    yield _too_many(needed, spent, _span(file, group, rules(grid)[0]))
                    continue
                spent += needed
                if not (found := _survey(grid)).kept:
                    yield _emptied(found, file, group, grid)
            case GridSearch():
                pass
            case (RandomSearch() | SuccessiveHalving() | Hyperband()) as search:
                yield from filter(None, [shortage(search, asking(file, group))])
            case _:
                assert_never(group.generator)


def _effort(grid: GridSearch) -> int:
    from rapidfire_cli.manifest.filters.counts import effort  # only files with rules wait for it

    return effort(grid)


def _survey(grid: GridSearch) -> "Survey":
    from rapidfire_cli.manifest.filters.counts import survey

    return survey(grid)


def _emptied(found: "Survey", file: ExperimentFile, group: Group, grid: GridSearch) -> Problem:
    culprit = (*found.fatal, *rules(grid))[0]
    together = "this rule removes" if found.fatal else "the rules together remove"
    return Problem(
        "E342",
        f"{together} all of {everything(grid):,} leaf configs",
        _span(file, group, culprit),
        expected="at least one that is kept",
        hint=HINTS[culprit.key],
    )


def _too_many(needed: int, spent: int, span: Span | None) -> Problem:
    return Problem(
        "E343",
        "the rules relate too many value sets to each other",
        span,
        found=f"{needed:,} values to look at" + (f", beside {spent:,} of other groups" if spent else ""),
        expected=f"at most {LOOKED_AT:,}",
        hint="several rules that name few knobs each are looked at one by one; a random search takes any",
    )


def _idle(rule: Rule, span: Span | None, of: str) -> Problem:
    message = f"this rule removes {of}"
    return Problem("W341", message, span, hint=HINTS[rule.key], severity=Severity.WARNING)


def _span(file: ExperimentFile, group: Group, rule: Rule) -> Span | None:
    return nearest(file.origins, (*group.at, rule.key, rule.place))
