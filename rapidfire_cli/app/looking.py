"""`status` and `best`: an experiment as its journal tells it, while it trains or after."""

import sys

from rapidfire_cli.app.files import load
from rapidfire_cli.app.printing import print_rows
from rapidfire_cli.durable.lock import is_held
from rapidfire_cli.engine.signals import StopSignal
from rapidfire_cli.store.home import Home, find, parent_directory
from rapidfire_cli.store.queries import Overview, lasting, overview
from rapidfire_cli.store.ranking import measured, ranking, usual_direction
from rapidfire_cli.terms import Direction, Objective, RunState
from rapidfire_cli.view.documents import experiment_document, ranking_document, run_document
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.results import failures, ranking_table, status_table

SIGNALLED = 128  # plus the signal's number (POSIX shells)


def status(experiment: str | None, parent: str | None, output: Output) -> int:
    """Print where every run stands."""
    seen = _look(experiment, parent)
    print_rows(
        output,
        lambda: status_table(seen),
        lambda: experiment_document(seen, seen.rows),
        lambda: map(run_document, seen.rows),
    )
    return 0


def best(
    experiment: str | None,
    parent: str | None,
    metric: str | None,
    direction: Direction | None,
    top: int | None,
    output: Output,
) -> int:
    """Print the leaf configs best first."""
    seen = _look(experiment, parent)
    _print_ranking(seen, _objective(seen, metric, direction), top, output)
    return 0


def conclude(home: Home, stop: StopSignal, output: Output) -> int:
    """Print the ranking that a fit ends with, unless its events were printed; the fit's exit code."""
    seen = overview(home.journal, alive=False)
    if output is not Output.JSONL:
        _print_ranking(seen, seen.about.objective, None, output)
    for line in failures(seen.rows):
        print(line, file=sys.stderr)
    if stop.asked():
        print("stopped; the same command continues", file=sys.stderr)
    if stop.number is not None:
        return SIGNALLED + stop.number
    return int(any(row.state is RunState.FAILED for row in lasting(seen.rows)))


def _print_ranking(seen: Overview, objective: Objective, top: int | None, output: Output) -> None:
    ranked = ranking(seen.rows, objective)[:top]
    rows = [row for place in ranked for row in place.rows]
    print_rows(
        output,
        lambda: ranking_table(ranked, measured(seen.rows, objective.metric), seen.about.varied),
        lambda: ranking_document(seen, ranked, objective),
        lambda: map(run_document, rows),
    )


def _look(experiment: str | None, parent: str | None) -> Overview:
    home = find(parent_directory(parent), experiment, lambda path: load(path).name)
    return overview(home.journal, is_held(home.lock))


def _objective(seen: Overview, metric: str | None, direction: Direction | None) -> Objective:
    """The experiment's objective, or the metric named instead in its usual direction."""
    usual = seen.about.objective
    if metric is None or metric == usual.metric:
        return Objective(usual.metric, direction or usual.direction)
    return Objective(metric, direction or usual_direction(metric))
