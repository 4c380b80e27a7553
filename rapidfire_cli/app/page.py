"""What the web page and the report show of runs, and how a request that the page sends is carried out."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, get_args

from rapidfire_cli.app.beginnings import began_with
from rapidfire_cli.app.control.asking import new_request, send
from rapidfire_cli.app.control.cloning import Cloning
from rapidfire_cli.app.control.trash import directory_of
from rapidfire_cli.app.files import reload
from rapidfire_cli.durable.lock import Held, is_held
from rapidfire_cli.engine.local.log_rotation import LOG
from rapidfire_cli.manifest.knob_paths import cell, dotted, knobs
from rapidfire_cli.manifest.provenance import provenance
from rapidfire_cli.problems import Refusal, position
from rapidfire_cli.requests import Ask, CloneRun, Request, Undo, decode_request
from rapidfire_cli.store.explain import explain, missing
from rapidfire_cli.store.history import history
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import Overview, RunRow, overview
from rapidfire_cli.store.requests_taken import requests_taken
from rapidfire_cli.store.run_record import run_record
from rapidfire_cli.store.series import points
from rapidfire_cli.terms import Clone, OomRetry, Plain, Run
from rapidfire_cli.view.page.experiment import Experiment, Refused
from rapidfire_cli.view.page.rungs import rungs_document
from rapidfire_cli.view.provenance import how
from rapidfire_cli.view.requests import answer_record, command_text, taken_record
from rapidfire_cli.view.run_page import RunPage, run_page_document
from rapidfire_cli.view.why import why_document

TAIL = 1 << 16  # bytes of a log that are shown (assumed)
VERBS: Mapping[str, str] = {
    "clone" if kind is CloneRun else kind.__name__.lower(): kind.__name__ for kind in get_args(Ask)
}
"""The classes of requests by the verbs of the command line."""


def experiment_of(find: Callable[[], ExperimentDir | None]) -> Experiment:
    """What the page shows of the experiment that `find` names."""
    return Experiment(find, run_details, run_why, run_log, rungs, requests, ask)


def run_details(home: ExperimentDir, number: int) -> dict[str, Plain]:
    """What `show` knows of the run, and where each value of its config comes from. Raises Refusal."""
    seen, row = _found(home, number)
    measured = [*points(home.journal, [number])]
    page = RunPage(seen, row, run_record(home.journal, number), measured)
    return {**run_page_document(page), "provenance": [*_provenance(home, row)]}


def run_why(home: ExperimentDir, number: int) -> dict[str, Plain]:
    """What `why` says. Raises Refusal."""
    seen = overview(home.journal, is_held(home.lock), unlisted=True)
    found = explain(seen, history(home.journal), number)
    return why_document(replace(found, began=began_with(home, found.row)))


def run_log(home: ExperimentDir, number: int) -> str:
    """The end of what the run printed; empty where it printed nothing. Raises Refusal."""
    _, row = _found(home, number)
    path = directory_of(home, row) / LOG
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL))
            text = file.read()
    except FileNotFoundError:
        return ""
    if size > TAIL:
        text = text.partition(b"\n")[2]
    return text.decode(errors="replace")


def rungs(home: ExperimentDir) -> dict[str, Plain]:
    """The brackets of early stopping. Raises Refusal."""
    past = history(home.journal)
    return rungs_document(
        past, overview(home.journal, is_held(home.lock), unlisted=True).rows if past else ()
    )


def requests(home: ExperimentDir) -> dict[str, Plain]:
    """The requests that people made, the last one first. Raises Refusal."""
    taken = reversed(requests_taken(home.journal))
    return {
        "requests": [{**taken_record(each), "text": command_text(each.taken.request.ask)} for each in taken]
    }


def ask(home: ExperimentDir, body: Any) -> dict[str, Plain]:
    """Carry out a request: over the socket of a live fit, or under the lock.

    Raises Refused where it cannot be understood or nobody answers, and Refusal for a wrong clone.
    """
    request = _request(body)
    if isinstance(request.ask, CloneRun):
        cloning = Cloning(home)
        for one in known_runs(home.journal, 1):
            if one.run.number in request.ask.runs:
                cloning.config(one.run, request.ask)
    try:
        reply = send(home, request)
    except Held as held:
        raise Refused(503, f"the experiment is in use by another process ({held})", "try again") from None
    except ValueError as error:
        raise Refused(400, str(error)) from None
    answers = [{**answer_record(answer), "born": answer.born or None} for answer in reply.answers]
    return {"live": reply.live, "answers": [dict(each) for each in answers]}


def _request(body: Any) -> Request:
    """The request in `{"verb": "stop", "runs": [3], …}`. Raises Refused."""
    if not isinstance(body, dict) or body.get("verb") not in VERBS:
        raise Refused(400, f"expected a verb: {', '.join(VERBS)}")
    usual = new_request(Undo(), "web")
    rest = {name: value for name, value in body.items() if name not in ("verb", "id", "if_state")}
    plain = {
        "is": "Request",
        "id": body.get("id", usual.id),
        "source": "web",
        "ask": {"is": VERBS[body["verb"]], **rest},
        "if_state": body.get("if_state"),
    }
    try:
        return decode_request(json.dumps(plain))
    except ValueError as error:
        raise Refused(400, str(error)) from None


def _found(home: ExperimentDir, number: int) -> tuple[Overview, RunRow]:
    """The run, and the experiment without the others. Raises Refusal if it does not exist."""
    seen = overview(home.journal, is_held(home.lock), unlisted=True, only=[number])
    if not seen.rows:
        raise Refusal([missing(seen, number)])
    return seen, seen.rows[0]


def _provenance(home: ExperimentDir, row: RunRow) -> Iterator[Plain]:
    """Every knob with its value, how it was chosen, and the place in the file, as far as one is known."""
    first, changes = row, dict[str, int]()
    while isinstance(first.origin, Clone | OomRetry):
        _, parent = _found(home, first.origin.run)
        for path, value in knobs(first.config):
            if cell(parent.config, dotted(path)) != value:
                changes.setdefault(dotted(path), first.number)
        first = parent
    written: dict[str, tuple[str, str | None]] = {}
    with suppress(Refusal, OSError):  # an experiment from Python has no file
        own = Run(first.number, first.id, first.group, first.leaf, first.seed, first.replicate)
        for found in provenance(reload(home.file), own):
            written[found.knob] = how(found), position(found.span) if found.span else None
    for path, value in knobs(row.config):
        chosen, place = written.get(dotted(path), ("", None))
        if by := changes.get(dotted(path)):
            chosen, place = f"changed for run {by}", None
        yield {"knob": dotted(path), "value": value, "how": chosen, "at": place}
