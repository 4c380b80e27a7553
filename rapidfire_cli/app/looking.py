"""`status` and `best`: an experiment as its journal tells it, while it trains or after."""

import sys
from pathlib import Path

from rapidfire_cli.app.files import load
from rapidfire_cli.app.printing import print_rows
from rapidfire_cli.app.subjects import source_of
from rapidfire_cli.durable.lock import is_held
from rapidfire_cli.engine.signals import StopSignal
from rapidfire_cli.problems import Span
from rapidfire_cli.store.home import Home, find, parent_directory
from rapidfire_cli.store.queries import Overview, lasting, overview
from rapidfire_cli.store.ranking import measured, ranking, usual_direction
from rapidfire_cli.store.source import check_source
from rapidfire_cli.syntax.group import ExperimentFile
from rapidfire_cli.terms import Direction, Objective, RunState
from rapidfire_cli.view.documents import experiment_document, ranking_document, run_document
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.results import failures, ranking_table, status_table

SIGNALLED = 128  # plus the signal's number (POSIX shells)


def status(experiment: str | None, parent: str | None, output: Output) -> int:
    """Print where every run stands."""
    seen, _ = look(experiment, parent)
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
    seen, _ = look(experiment, parent)
    _print_ranking(seen, _objective(seen, metric, direction), top, output)
    return 0


def conclude(seen: Overview, stop: StopSignal, output: Output) -> int:
    """Print the ranking that a fit ends with, unless its events were printed; the fit's exit code."""
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


def look(experiment: str | None, parent: str | None, unlisted: bool = False) -> tuple[Overview, Home]:
    """The experiment that is meant, and where it is. Raises Refusal when there is none."""
    files: dict[Path, ExperimentFile] = {}

    def name_of(path: Path) -> str:
        files[path] = load(path)
        return files[path].name

    home = find(parent_directory(parent), experiment, name_of)
    seen = overview(home.journal, is_held(home.lock), unlisted)
    for path, file in files.items():
        check_source(home, seen.about.source, source_of(path, file, home), Span(str(path), 0, 0))
    return seen, home


def _objective(seen: Overview, metric: str | None, direction: Direction | None) -> Objective:
    """The experiment's objective, or the metric named instead in its usual direction."""
    usual = seen.about.objective
    if metric is None or metric == usual.metric:
        return Objective(usual.metric, direction or usual.direction)
    return Objective(metric, direction or usual_direction(metric))
