"""What all verbs that steer do: find the runs, ask, print the answers."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from rapidfire_cli.app.control.asking import Reply, new_request, send
from rapidfire_cli.app.control.forecast import forecast
from rapidfire_cli.app.control.selection import Selection, selected
from rapidfire_cli.app.control.steering import standings_of
from rapidfire_cli.app.control.trash import directory_of, size_of
from rapidfire_cli.app.errors import REFUSED
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.printing import print_either
from rapidfire_cli.control.decisions import decide
from rapidfire_cli.control.standing import Standing
from rapidfire_cli.control.undoing import undone
from rapidfire_cli.requests import AboutRuns, Answer, Ask, Delete, Purge, Request, Stop, Undo
from rapidfire_cli.store.known_runs import KnownRun, known_runs
from rapidfire_cli.store.pace import pace
from rapidfire_cli.store.queries import Overview
from rapidfire_cli.store.requests_taken import requests_taken
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.requests import answer_lines, answer_record
from rapidfire_cli.view.wording import counted, duration_text, size_text


class Options(NamedTuple):
    """The options that these verbs share."""

    experiment: str | None = None
    parent: str | None = None
    if_state: RunState | None = None
    dry_run: bool = False
    output: Output = Output.TABLE


def steer(
    selection: Selection,
    asking: Callable[[tuple[int, ...]], AboutRuns],
    options: Options,
    confirmed: Callable[[tuple[int, ...]], bool] | None = None,
) -> int:
    """Ask for the selected runs, if that is `confirmed`, and print the answers; return the exit code.

    Raises Refusal when no run is selected, and Held when the experiment's holder does not answer.
    """
    seen = open_overview(options.experiment, options.parent, unlisted=True)
    runs = selected(selection, seen)
    if selection.is_by_condition:
        runs = _applicable(runs, asking, options, seen)
    if not runs:
        print("no run matches", file=sys.stderr)
        return 0
    if confirmed and not confirmed(runs):
        return REFUSED
    return steered(seen, asking(runs), options)


def steered(seen: Overview, ask: Ask, options: Options) -> int:
    """Ask for it and print the answers; return the exit code. Raises Held as `steer` does."""
    request = new_request(ask, "cli", options.if_state)
    if not options.dry_run:
        return show(send(seen.home, request), options)
    reply = _foreseen(request, seen)
    code = show(reply, options)
    print(f"dry run: nothing was changed{_effects(request, reply, seen)}", file=sys.stderr)
    return code


def _effects(request: Request, reply: Reply, seen: Overview) -> str:
    """What the request would change for slots, disk and time: ` (1 run would stop training)`."""
    changed = {answer.run for answer in reply.answers if answer.changed}
    rows = [row for row in seen.rows if row.number in changed]
    ends = sum(row.state is RunState.RUNNING for row in rows if isinstance(request.ask, Stop | Delete))
    told = [f"{counted(ends, 'run')} would stop training"] * bool(ends)
    if isinstance(request.ask, Delete | Purge):
        size = sum(size_of(directory_of(seen.home, row)) for row in rows)
        verb = "be freed" if isinstance(request.ask, Purge) else "go to the trash"
        told.append(f"{size_text(size)} would {verb}")
    by_number = {row.number: row for row in seen.rows}
    if changed and (found := forecast(request.ask, changed, by_number, pace(seen.home.journal))):
        before, after = duration_text(found.before), duration_text(found.after)
        told.append(f"finished in at most {after} instead of {before}")
    return f" ({', '.join(told)})" if told else ""


def show(reply: Reply, options: Options) -> int:
    """Print the answers: refusals on stderr; the exit code."""
    refused = [answer for answer in reply.answers if answer.outcome == "refused"]
    print_either(
        options.output,
        lambda: _print_lines(reply, options),
        lambda: {"live": reply.live, "answers": [dict(answer_record(answer)) for answer in reply.answers]},
        lambda: map(answer_record, reply.answers),
    )
    return REFUSED if refused else 0


def _print_lines(reply: Reply, options: Options) -> None:
    for answer in reply.answers:
        stream = sys.stderr if answer.outcome == "refused" else sys.stdout
        print("\n".join(answer_lines(answer)), file=stream)
    if not options.dry_run and not reply.live and any(answer.changed for answer in reply.answers):
        print("no fit is running; the next `rapidfire fit` goes by this", file=sys.stderr)


def _applicable(
    runs: tuple[int, ...], asking: Callable[[tuple[int, ...]], AboutRuns], options: Options, seen: Overview
) -> tuple[int, ...]:
    """Those that a condition selected and the verb applies to."""
    if not runs:
        return ()
    answers = _foreseen(new_request(asking(runs), "cli", options.if_state), seen).answers
    return tuple(answer.run for answer in answers if answer.outcome != "refused")


def _foreseen(request: Request, seen: Overview) -> Reply:
    """What would be answered, as far as the journal knows."""
    live = seen.state is RunState.RUNNING
    known = known_runs(seen.home.journal, 1)
    standings = standings_of(known)
    if live:
        standings |= {one.run.number: _training(one) for one in known if one.state is RunState.RUNNING}
    if isinstance(request.ask, Undo):
        taken = [each.taken for each in requests_taken(seen.home.journal)]
        means = undone(taken, os.getuid())
        if isinstance(means, str):
            return Reply((Answer(0, "refused", means),), live)
        request = replace(request, means=means)
    return Reply(tuple(ruling.answer for ruling in decide(request, standings)), live)


def _training(known: KnownRun) -> Standing:
    return Standing(RunState.RUNNING, known.bracket)
