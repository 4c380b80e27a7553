"""`status` and `best`: an experiment as its journal tells it, while it trains or after."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rapidfire_cli.app.files import reload
from rapidfire_cli.app.gates import Gate
from rapidfire_cli.app.printing import print_rows
from rapidfire_cli.app.subjects import source_of
from rapidfire_cli.durable.lock import is_held
from rapidfire_cli.engine.directions import usual_direction
from rapidfire_cli.engine.signals import StopSignal
from rapidfire_cli.problems import Span
from rapidfire_cli.store.home import find, parent_directory
from rapidfire_cli.store.queries import Overview, lasting, overview
from rapidfire_cli.store.ranking import Ranked, direction_of, measured, ranking
from rapidfire_cli.store.source import check_source
from rapidfire_cli.syntax.group import ExperimentFile
from rapidfire_cli.terms import Direction, Epoch, Objective, RunState
from rapidfire_cli.view.audience import drawable
from rapidfire_cli.view.documents import experiment_document, ranking_document, run_document
from rapidfire_cli.view.formats import Output, Record, json_line
from rapidfire_cli.view.results import failures, ranking_table, status_table
from rapidfire_cli.view.wording import counted

SIGNALLED = 128  # plus the signal's number (POSIX shells)
MOST = 20  # leaf configs that the end of a fit shows to people, and causes of failures (assumed: a screen)


def status(experiment: str | None, parent: str | None, output: Output) -> int:
    """Print where every run stands."""
    seen = look(experiment, parent)
    print_rows(
        output,
        lambda: status_table(seen),
        lambda: experiment_document(seen, seen.rows),
        lambda: (run_document(row, seen) for row in seen.rows),
    )
    return 0


def best(
    experiment: str | None,
    parent: str | None,
    metric: str | None,
    direction: Direction | None,
    at: Epoch | None,
    top: int | None,
    output: Output,
) -> int:
    """Print the leaf configs best first."""
    seen = look(experiment, parent, choose=lambda usual: _chosen(usual, metric, direction, at))
    if metric and metric != seen.about.objective.metric and not direction:
        direction_of(metric, seen.rows)  # refuses where a name does not say it
    ranked = ranking(seen.rows, seen.objective)[:top]
    _print_ranking(seen, ranked, output, lambda: ranking_document(seen, ranked))
    return 0


def conclude(seen: Overview, stop: StopSignal, output: Output, gates: Sequence[Gate]) -> int:
    """Print the ranking that a fit ends with, of its events only the last ones; the fit's exit code.

    People are shown the best and told how to see all.
    """
    judged = [gate.record for gate in gates]
    if output is Output.JSONL:
        events: list[Record] = [{"event": "requirement_judged", **record} for record in judged]
        sys.stdout.writelines(f"{json_line(event)}\n" for event in events)
    else:
        ranked = ranking(seen.rows, seen.objective)
        shown = ranked[:MOST] if output is Output.TABLE else ranked
        see = f"`rapidfire best -e {shlex.quote(str(seen.home.path))}` shows all"
        more = f"the best {MOST} of {len(ranked):,}; {see}" if len(shown) < len(ranked) else ""

        def document() -> Record:
            return {**ranking_document(seen, ranked), "requirements": [*judged]}

        _print_ranking(seen, shown, output, document, more)
    shown_in_lines = output is not Output.JSONL and not drawable(sys.stderr, os.environ)
    _print_failures(seen, shown_in_lines)
    if stop.asked():
        print("stopped; the same command continues", file=sys.stderr)
    if stop.number is not None:
        return SIGNALLED + stop.number
    return int(any(row.state is RunState.FAILED for row in lasting(seen.rows)))


def _print_failures(seen: Overview, known: bool) -> None:
    lines = failures(seen.rows, seen.home, known)
    if more := len(lines) - MOST if len(lines) > MOST else 0:
        see = f"`rapidfire status -e {shlex.quote(str(seen.home.path))}` shows all"
        lines = [*lines[:MOST], f"{counted(more, 'more cause')} of failure; {see}"]
    for line in lines:
        print(line, file=sys.stderr)


def _print_ranking(
    seen: Overview, ranked: Sequence[Ranked], output: Output, document: Callable[[], Record], more: str = ""
) -> None:
    objective, varied = seen.objective, seen.about.varied
    print_rows(
        output,
        lambda: ranking_table(ranked, objective, measured(seen.rows, objective.metric), varied, more),
        document,
        lambda: (run_document(row, seen) for place in ranked for row in place.rows),
    )


def look(
    experiment: str | None,
    parent: str | None,
    unlisted: bool = False,
    choose: Callable[[Objective], Objective] = lambda usual: usual,
) -> Overview:
    """The experiment that is meant, as it stands. Raises Refusal when there is none."""
    files: dict[Path, ExperimentFile] = {}

    def name_of(path: Path) -> str:
        files[path] = reload(path)
        return files[path].name

    home = find(parent_directory(parent), experiment, name_of)
    seen = overview(home.journal, is_held(home.lock), unlisted, choose)
    for path, file in files.items():
        check_source(home, seen.about.source, source_of(path, file, home), Span(str(path), 0, 0))
    return seen


def _chosen(usual: Objective, metric: str | None, direction: Direction | None, at: Epoch | None) -> Objective:
    """The experiment's objective, or the metric named instead in its usual direction; at the epoch named."""
    if metric is None or metric == usual.metric:
        return Objective(usual.metric, direction or usual.direction, at or usual.at)
    return Objective(metric, direction or usual_direction(metric) or "max", at or usual.at)
