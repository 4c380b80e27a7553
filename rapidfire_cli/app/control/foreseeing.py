"""What a request would do, without doing it: the answers, and what changes for slots, disk and time."""

import os
from collections.abc import Iterator
from dataclasses import replace

from rapidfire_cli.app.control.asking import Reply
from rapidfire_cli.app.control.forecast import forecast
from rapidfire_cli.app.control.steering import standings_of
from rapidfire_cli.app.control.trash import directory_of, size_of
from rapidfire_cli.control.decisions import decide
from rapidfire_cli.control.standing import Standing
from rapidfire_cli.control.undoing import undone
from rapidfire_cli.requests import Answer, Delete, Purge, Request, Stop, Undo
from rapidfire_cli.store.known_runs import KnownRun, known_runs
from rapidfire_cli.store.pace import pace
from rapidfire_cli.store.queries import Overview
from rapidfire_cli.store.requests_taken import requests_taken
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.wording import counted, duration_text, size_text


def foreseen(request: Request, seen: Overview) -> Reply:
    """What would be answered, as far as the journal knows; `seen` has all runs."""
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


def effects(request: Request, reply: Reply, seen: Overview) -> Iterator[str]:
    """What the request would change for slots, disk and time: `1 run would stop training`."""
    changed = {answer.run for answer in reply.answers if answer.changed}
    rows = [row for row in seen.rows if row.number in changed]
    ends = sum(row.state is RunState.RUNNING for row in rows if isinstance(request.ask, Stop | Delete))
    if ends:
        yield f"{counted(ends, 'run')} would stop training"
    if isinstance(request.ask, Delete | Purge):
        size = sum(size_of(directory_of(seen.home, row)) for row in rows)
        yield f"{size_text(size)} would {'be freed' if isinstance(request.ask, Purge) else 'go to the trash'}"
    by_number = {row.number: row for row in seen.rows}
    if changed and (found := forecast(request.ask, changed, by_number, pace(seen.home.journal))):
        yield f"finished in at most {duration_text(found.after)} instead of {duration_text(found.before)}"


def _training(known: KnownRun) -> Standing:
    return Standing(RunState.RUNNING, known.bracket)
