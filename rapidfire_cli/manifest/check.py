"""What the grammar cannot know about a file: whether its groups can have the runs they ask for."""

from collections.abc import Iterator
from dataclasses import replace

from rapidfire_cli.manifest.counting import everything
from rapidfire_cli.manifest.origin import asking, nearest
from rapidfire_cli.manifest.related import LOOKED_AT, TooMany
from rapidfire_cli.manifest.rules import Rule, rules
from rapidfire_cli.manifest.sampling import PATIENCE, idle, shortage, streams
from rapidfire_cli.manifest.size import Search
from rapidfire_cli.manifest.survey import Survey, survey
from rapidfire_cli.problems import Problem, Refusal, Severity, Span
from rapidfire_cli.syntax.group import ExperimentFile, GridSearch, Group

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
    found = (_wrong(file, group) for group in file.groups)
    return tuple(problem for problem in found if problem)


def warnings(file: ExperimentFile) -> Iterator[Problem]:
    """The rules that are in vain: decided for grids, for searches told by their first draws."""
    for group, fractions in zip(file.groups, streams(file), strict=True):
        match group.generator:
            case GridSearch() as grid if rules(grid) and not _wrong(file, group):
                for rule in survey(grid).idle:
                    yield _idle(rule, _span(file, group, rule), f"none of {everything(grid):,} leaf configs")
            case search if isinstance(search, Search) and fractions and rules(search):
                for rule in idle(search, fractions):
                    yield _idle(rule, _span(file, group, rule), f"none of the first {PATIENCE:,} draws")


def _wrong(file: ExperimentFile, group: Group) -> Problem | None:
    match group.generator:
        case GridSearch() as grid if rules(grid):
            return _surveyed(file, group, grid)
        case search if isinstance(search, Search):
            return shortage(search, asking(file, group))
    return None


def _surveyed(file: ExperimentFile, group: Group, grid: GridSearch) -> Problem | None:
    try:
        found = survey(grid)
    except TooMany as many:
        return _too_many(many.combinations, _span(file, group, rules(grid)[0]))
    return None if found.kept else _emptied(found, file, group, grid)


def _emptied(found: Survey, file: ExperimentFile, group: Group, grid: GridSearch) -> Problem:
    culprit = (*found.fatal, *rules(grid))[0]
    together = "this rule removes" if found.fatal else "the rules together remove"
    return Problem(
        "E342",
        f"{together} all of {everything(grid):,} leaf configs",
        _span(file, group, culprit),
        expected="at least one that is kept",
        hint=HINTS[culprit.key],
    )


def _too_many(combinations: int, span: Span | None) -> Problem:
    return Problem(
        "E343",
        "the rules relate too many value sets to each other",
        span,
        found=f"{combinations:,} combinations to look at",
        expected=f"at most {LOOKED_AT:,}",
        hint="several rules that name few knobs each are looked at one by one; a random search takes any",
    )


def _idle(rule: Rule, span: Span | None, of: str) -> Problem:
    message = f"this rule removes {of}"
    return Problem("W341", message, span, hint=HINTS[rule.key], severity=Severity.WARNING)


def _span(file: ExperimentFile, group: Group, rule: Rule) -> Span | None:
    return nearest(file.origins, (*group.at, rule.key, rule.place))
