"""`plot`: draw learning curves, parallel coordinates, the importance of knobs, or rungs, into a file."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.engine.directions import usual_direction
from rapidfire_cli.facts import BracketBegun, Decision, EpochEnded, compared_value
from rapidfire_cli.manifest.knob_paths import ABSENT, cell
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.stopping.halving import HalvingRule
from rapidfire_cli.stopping.registry import rule_of
from rapidfire_cli.store.history import Past, goals, history
from rapidfire_cli.store.queries import Overview, RunRow
from rapidfire_cli.store.ranking import direction_of, measured, ranking
from rapidfire_cli.store.series import points
from rapidfire_cli.terms import Objective, Plain, RunState
from rapidfire_cli.view.knob_columns import short_names, varied
from rapidfire_cli.view.plots.curves import Curve, draw_curves
from rapidfire_cli.view.plots.figure import short
from rapidfire_cli.view.plots.importance import LEAST, draw_importance, importance
from rapidfire_cli.view.plots.parallel import Line, draw_parallel
from rapidfire_cli.view.plots.rungs import Bracket, Rung, draw_rungs
from rapidfire_cli.view.wording import counted, metric_title

Kind: TypeAlias = Literal["curves", "parallel", "importance", "rungs"]

NEEDS: Mapping[Kind, tuple[tuple[str, str], ...]] = {
    "curves": (("matplotlib", "matplotlib"),),
    "parallel": (("matplotlib", "matplotlib"),),
    "importance": (("matplotlib", "matplotlib"), ("sklearn", "scikit-learn")),
    "rungs": (("matplotlib", "matplotlib"),),
}
"""The modules that a plot needs, and the packages that have them."""


def plot(kind: Kind, output: Path, experiment: str | None, parent: str | None, metric: str | None) -> int:
    """Draw the plot into the file. Raises Refusal where there is nothing to draw, and Unavailable."""
    seen = open_overview(experiment, parent, choose=lambda usual: _chosen(usual, metric))
    if metric and metric != seen.metadata.objective.metric:
        direction_of(metric, seen.rows)
    rows = [row for place in ranking(seen.rows, seen.objective) for row in place.rows]
    draw = DRAWN[kind](seen, rows)
    for module, package in NEEDS[kind]:
        if find_spec(module) is None:
            hint = "pip install 'rapidfire-cli[plot]'"
            raise Unavailable(f"`plot {kind}` needs the package {package}: {hint}")
    draw(output)
    print(output)
    return 0


def _chosen(usual: Objective, metric: str | None) -> Objective:
    """The experiment's objective, or the metric named instead in its usual direction."""
    if metric is None or metric == usual.metric:
        return usual
    return Objective(metric, usual_direction(metric) or "max", usual.at)


def _curves(seen: Overview, rows: Sequence[RunRow]) -> Callable[[Path], None]:
    of = measured(seen.rows, seen.objective.metric)
    values: dict[int, dict[int, float]] = {}
    for point in points(seen.home.journal, [row.number for row in rows], of):
        values.setdefault(point.run, {})[point.epoch] = point.value
    if not values:
        raise _nothing("no run has finished an epoch yet")
    paths = varied(seen)
    curves = [
        Curve(row.number, ", ".join(_texts(row, paths)), values[row.number])
        for row in rows
        if row.number in values
    ]
    return lambda output: draw_curves(output, seen.metadata.experiment, metric_title(*of), curves)


def _parallel(seen: Overview, rows: Sequence[RunRow]) -> Callable[[Path], None]:
    paths, valued = varied(seen), [*_valued(seen, rows)]
    if not paths:
        raise _nothing("no knob varies between these runs")
    if not valued:
        raise _nothing("no run has a value of the metric yet")
    lines = [Line(row.number, tuple(_knob(row, path) for path in paths), value) for row, value in valued]
    name = metric_title(*measured(seen.rows, seen.objective.metric))
    same = (seen.metadata.experiment, name, seen.objective.direction, short_names(paths))
    return lambda output: draw_parallel(output, *same, lines)


def _importance(seen: Overview, rows: Sequence[RunRow]) -> Callable[[Path], None]:
    over = [row for row in rows if row.state in (RunState.COMPLETED, RunState.PRUNED)]
    paths, valued = varied(seen), [*_valued(seen, over)]
    if not paths:
        raise _nothing("no knob varies between these runs")
    if len(valued) < LEAST:
        found = f"{counted(len(valued), 'finished run')} with a value"
        raise _nothing("too few runs to say which knobs matter", found, f"at least {LEAST}")
    knobs = {
        name: [_knob(row, path) for row, _ in valued]
        for path, name in zip(paths, short_names(paths), strict=True)
    }
    name = metric_title(*measured(seen.rows, seen.objective.metric))

    def draw(output: Path) -> None:
        values = [value for _, value in valued]
        draw_importance(output, seen.metadata.experiment, name, importance(knobs, values))

    return draw


def _rungs(seen: Overview, rows: Sequence[RunRow]) -> Callable[[Path], None]:
    past = history(seen.home.journal)
    begun = [event for event in past if isinstance(event, BracketBegun) and _has_rungs(event)]
    brackets = [bracket for event in begun if (bracket := _bracket(event, past)).rungs]
    if not brackets:
        raise _nothing("no rung has decided about a run yet" if begun else "these runs had no rungs")
    metric = rule_of(begun[0].rule).metric
    best = rows[0].number if rows else None
    return lambda output: draw_rungs(output, seen.metadata.experiment, metric, best, brackets)


DRAWN: Mapping[Kind, Callable[[Overview, Sequence[RunRow]], Callable[[Path], None]]] = {
    "curves": _curves,
    "parallel": _parallel,
    "importance": _importance,
    "rungs": _rungs,
}
"""What collects the data of a plot; it returns what draws them. Raises Refusal where there is nothing."""


def _has_rungs(began: BracketBegun) -> bool:
    return isinstance(rule_of(began.rule), HalvingRule)


def _bracket(began: BracketBegun, past: Sequence[Past]) -> Bracket:
    """The bracket's decisions, one for each rung: those of ASHA decide about one run at a time."""
    rule, ends = rule_of(began.rule), goals(began, past)
    rungs: dict[int, Rung] = {}
    for event in past:
        if isinstance(event, Decision) and event.bracket == began.bracket:
            before = rungs.get(event.epochs, Rung(event.epochs, {}, None))
            verdicts = {one.run: (one.value, one.promoted) for one in event.verdicts}
            rungs[event.epochs] = Rung(event.epochs, {**before.verdicts, **verdicts}, event.cut)
    finished = {
        event.run: value
        for event in past
        if isinstance(event, EpochEnded) and ends.get(event.run) == event.epoch
        if (value := compared_value(event.metrics, rule.metric)) is not None
    }
    whole = max(ends.values())
    return Bracket(began.bracket, tuple(rungs[epochs] for epochs in sorted(rungs)), finished, whole)


def _valued(seen: Overview, rows: Sequence[RunRow]) -> Iterator[tuple[RunRow, float]]:
    """The runs with a finite value, at the epoch that the objective names."""
    split, name = measured(seen.rows, seen.objective.metric)
    for row in rows:
        value = row.metrics_at(seen.objective.at).get(split, {}).get(name)
        if value is not None and math.isfinite(value):
            yield row, value


def _knob(row: RunRow, path: str) -> Plain:
    value = cell(row.config, path)
    return None if value is ABSENT else value


def _texts(row: RunRow, paths: Sequence[str]) -> Iterator[str]:
    """The values of the knobs that the run has; numbers with their knob's name."""
    for path, name in zip(paths, short_names(paths), strict=True):
        value = cell(row.config, path)
        if value is not ABSENT:
            yield value if isinstance(value, str) else f"{name} {short(value)}"


def _nothing(message: str, found: str = "", expected: str = "") -> Refusal:
    return Refusal([Problem("E541", message, found=found, expected=expected)])
