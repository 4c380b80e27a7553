"""What the grammar cannot know about a file: whether its groups can have the runs they ask for."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from rapidfire_cli.manifest.counting import everything
from rapidfire_cli.manifest.filters.filter import Filter, filters
from rapidfire_cli.manifest.origin import asking, nearest
from rapidfire_cli.manifest.sampling import PATIENCE, idle, shortage, streams
from rapidfire_cli.problems import Problem, Refusal, Severity, Span, did_you_mean
from rapidfire_cli.syntax.ast import (
    Config,
    ExperimentFile,
    GridSearch,
    Group,
)
from rapidfire_cli.syntax.serialize import arguments
from rapidfire_cli.terms import canonical

if TYPE_CHECKING:
    from rapidfire_cli.manifest.filters.counts import FilterCounts

LOOKED_AT = 500_000  # values that a file's filters may check: 0.7 s (measured), and again for expanding
DRAWN = 2**24  # characters of searches with their filters, draw by draw: a second's work (measured)

HINTS = {
    "where": "`where` removes the leaf configs for which its condition is false",
    "exclude": "`exclude` removes the leaf configs for which its condition is true",
}


def checked(file: ExperimentFile) -> ExperimentFile:
    """The file, with what is odd about its groups among its warnings. Raises Refusal as `check` finds."""
    if problems := find_problems(file):
        raise Refusal(problems)
    return replace(file, warnings=(*file.warnings, *warnings(file)))


def find_problems(file: ExperimentFile) -> tuple[Problem, ...]:
    """Everything wrong with the groups, in file order, found without drawing runs."""
    return tuple(_wrong(file))


def warnings(file: ExperimentFile) -> Iterator[Problem]:
    """Warn of filters that remove nothing: exact for grids, by the first draws for searches."""
    left = DRAWN
    for group, fractions in zip(file.groups, streams(file), strict=True):
        match group.generator:
            case Config():
                pass
            case GridSearch() as grid:
                for filter_ in _counts(grid).idle if filters(grid) else ():
                    yield _idle(
                        filter_, _span(file, group, filter_), f"none of the {everything(grid):,} leaf configs"
                    )
            case search:
                drawn = bool(fractions) and bool(filters(search))
                left -= PATIENCE * len(canonical(arguments(search))) if drawn else 0
                for filter_ in idle(search, fractions) if drawn and fractions and left >= 0 else ():
                    yield _idle(filter_, _span(file, group, filter_), f"none of the first {PATIENCE:,} draws")


def _unknown_sources(file: ExperimentFile) -> Iterator[Problem]:
    """Warm starts from a run that the file does not list, or from an epoch that it does not reach."""
    warm = [
        (group.at, start)
        for group in file.groups
        if isinstance(group.generator, Config) and (start := group.generator.warm_start)
    ]
    if not warm:
        return
    from rapidfire_cli.manifest.expand import listed  # which asks this module what is wrong with a file

    epochs = {run.id: run.leaf["train"]["epochs"] for run in listed(file)}
    for at, start in warm:
        if start.run not in epochs:
            span = nearest(file.origins, (*at, "warm_start", "run"))
            hint = did_you_mean(start.run, epochs) or "`rapidfire expand FILE --output jsonl` prints the ids"
            yield Problem("E313", f"no run of this file has the id `{start.run}`", span, hint=hint)
        elif start.epoch > epochs[start.run]:
            span = nearest(file.origins, (*at, "warm_start", "epoch"))
            expected = f"an epoch up to {epochs[start.run]}"
            yield Problem("E313", f"that run has no epoch {start.epoch}", span, expected=expected)


def _wrong(file: ExperimentFile) -> Iterator[Problem]:
    yield from _unknown_sources(file)
    if file.execution.on_oom:
        from rapidfire_cli.manifest.replacement import misplaced  # only files with changes wait for it

        yield from misplaced(file)
    spent = 0
    for group in file.groups:
        match group.generator:
            case Config():
                pass
            case GridSearch() as grid if filters(grid):
                needed = _effort(grid)
                if spent + needed > LOOKED_AT:
                    yield _too_many(needed, spent, _span(file, group, filters(grid)[0]))
                    continue
                spent += needed
                if not (found := _counts(grid)).kept:
                    yield _emptied(found, file, group, grid)
            case GridSearch():
                pass
            case search:
                yield from filter(None, [shortage(search, asking(file, group))])


def _effort(grid: GridSearch) -> int:
    from rapidfire_cli.manifest.filters.counts import effort  # only files with filters wait for it

    return effort(grid)


def _counts(grid: GridSearch) -> "FilterCounts":
    from rapidfire_cli.manifest.filters.counts import filter_counts

    return filter_counts(grid)


def _emptied(found: "FilterCounts", file: ExperimentFile, group: Group, grid: GridSearch) -> Problem:
    culprit = (*found.fatal, *filters(grid))[0]
    together = "this condition removes" if found.fatal else "the conditions together remove"
    return Problem(
        "E342",
        f"{together} all {everything(grid):,} leaf configs",
        _span(file, group, culprit),
        expected="at least one leaf config that is kept",
        hint=HINTS[culprit.key],
    )


def _too_many(needed: int, spent: int, span: Span | None) -> Problem:
    return Problem(
        "E343",
        "these conditions combine too many values to check",
        span,
        found=f"{needed:,} values to check" + (f", and {spent:,} in other groups" if spent else ""),
        expected=f"at most {LOOKED_AT:,}",
        hint="use conditions that name fewer knobs, or a `randomsearch:`",
    )


def _idle(filter_: Filter, span: Span | None, of: str) -> Problem:
    message = f"this condition removes {of}"
    return Problem("W341", message, span, hint=HINTS[filter_.key], severity=Severity.WARNING)


def _span(file: ExperimentFile, group: Group, filter_: Filter) -> Span | None:
    return nearest(file.origins, (*group.at, filter_.key, filter_.place))
