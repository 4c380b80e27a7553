"""The end of a fit: print the ranking and the failures, and return the exit code."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence

from rapidfire_cli.app.ci import Gate, Requirement, judge
from rapidfire_cli.app.printing import print_rows
from rapidfire_cli.engine.signals import StopSignal
from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.queries import Overview, lasting
from rapidfire_cli.store.ranking import Ranked, measured, ranking
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.audience import drawable
from rapidfire_cli.view.documents import ranking_document, run_document
from rapidfire_cli.view.formats import Output, Record, json_line
from rapidfire_cli.view.knob_columns import varied
from rapidfire_cli.view.results import failures, ranking_table
from rapidfire_cli.view.wording import counted, ranges

SIGNALLED = 128  # plus the signal's number (POSIX shells)
MOST = 20  # leaf configs that the end of a fit shows to people, and causes of failures (assumed: a screen)


def judged(
    seen: Overview, stop: StopSignal, output: Output, required: Sequence[Requirement]
) -> tuple[Gate, ...]:
    """Judge the requirements, unless a stop was asked for.

    Raises Refusal for a metric that no run has; people are shown the ranking before.
    """
    try:
        return () if stop.asked() else judge(seen, required)
    except Refusal:
        if output is Output.TABLE:
            conclude(seen, stop, output, ())
        raise


def conclude(seen: Overview, stop: StopSignal, output: Output, gates: Sequence[Gate]) -> int:
    """Print the ranking and the failures at the end of a fit; return the exit code.

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

        print_ranking(seen, shown, output, document, more)
    shown_in_lines = output is not Output.JSONL and not drawable(sys.stderr, os.environ)
    _print_failures(seen, shown_in_lines)
    if stopped := [row.number for row in lasting(seen.rows) if row.state is RunState.STOPPED]:
        resume = f"`rapidfire resume {' '.join(ranges(stopped))}`"
        print(f"{counted(len(stopped), 'run')} stopped by hand ({resume})", file=sys.stderr)
    if stop.asked():
        print("interrupted; rerun the same command to continue", file=sys.stderr)
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


def print_ranking(
    seen: Overview, ranked: Sequence[Ranked], output: Output, document: Callable[[], Record], more: str = ""
) -> None:
    objective, paths = seen.objective, varied(seen)
    print_rows(
        output,
        lambda: ranking_table(ranked, objective, measured(seen.rows, objective.metric), paths, more),
        document,
        lambda: (run_document(row, seen) for place in ranked for row in place.rows),
    )
