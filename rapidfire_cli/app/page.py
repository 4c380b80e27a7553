"""What the web page, the notebook's panel and the report show, and how their requests are carried out."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlencode

from rapidfire_cli.app.control.asking import new_request, send
from rapidfire_cli.app.control.clone_check import check_clones
from rapidfire_cli.app.control.foreseeing import effects, foreseen
from rapidfire_cli.app.control.trash import directory_of
from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.files import reload
from rapidfire_cli.app.verbs.show import page_of
from rapidfire_cli.app.verbs.why import account_of
from rapidfire_cli.durable.lock import Held, is_held
from rapidfire_cli.engine.directions import usual_direction
from rapidfire_cli.engine.local.log_rotation import LOG, log_end
from rapidfire_cli.manifest.knob_paths import cell, dotted, knobs
from rapidfire_cli.manifest.provenance import provenance
from rapidfire_cli.problems import Refusal, position
from rapidfire_cli.requests import Ask, CloneRun, Request, Source, Undo, decode_request
from rapidfire_cli.store.explain import missing
from rapidfire_cli.store.history import history
from rapidfire_cli.store.layout import ExperimentDir, experiments
from rapidfire_cli.store.queries import Overview, RunRow, overview
from rapidfire_cli.store.ranking import known_metrics, ranking
from rapidfire_cli.store.requests_taken import requests_taken
from rapidfire_cli.store.series import packed, packed_times
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.terms import Clone, Fork, OomRetry, Plain, Run, RunState
from rapidfire_cli.view.knob_columns import varied
from rapidfire_cli.view.page.bundle import NOT_BUILT, panel_script
from rapidfire_cli.view.page.experiment import Experiment, Refused
from rapidfire_cli.view.page.importance import importance_document
from rapidfire_cli.view.page.rungs import rungs_document
from rapidfire_cli.view.page.snapshot import snapshot
from rapidfire_cli.view.provenance import how
from rapidfire_cli.view.report.page import Contents
from rapidfire_cli.view.requests import answer_record, command_text, taken_record
from rapidfire_cli.view.run_page import run_page_document
from rapidfire_cli.view.why import why, why_document

if TYPE_CHECKING:
    from rapidfire_cli.view.page.panel import Panel

NEEDED = "`panel()` needs the package anywidget: pip install 'rapidfire-cli[notebook]'"
PAGES = 600  # runs whose pages a report holds, at most (assumed)
LAST = 1 << 11  # bytes of a log that a report holds (assumed)
TAIL = 1 << 16  # bytes of a log that are shown (assumed)
VERBS: Mapping[str, str] = {
    "clone" if kind is CloneRun else kind.__name__.lower(): kind.__name__ for kind in get_args(Ask)
}
"""The classes of requests by the verbs of the command line."""


def experiment_of(find: Callable[[], ExperimentDir | None]) -> Experiment:
    """What the page shows of the experiment that `find` names, and of the others in the same directory."""

    def beside() -> list[ExperimentDir]:
        home = find()
        return [each for each in experiments(home.path.parent) if each.journal.is_file()] if home else []

    def named(name: str) -> ExperimentDir | None:
        home = find()
        if not name or home is None or name == home.path.name:
            return home
        return next((each for each in beside() if each.path.name == name), None)

    def names() -> list[str]:
        return [each.path.name for each in beside()]

    return Experiment(named, names, run_details, run_why, run_log, rungs, requests, importance, ask)


def panel_of(home: ExperimentDir, read_only: bool, path: tuple[str, ...]) -> "Panel":
    """The page of the experiment as a widget, which need not exist yet.

    `path` is where the MLSpec's module is looked up beside the working directory. Raises Unavailable.
    """
    if find_spec("anywidget") is None:
        raise Unavailable(NEEDED)
    from rapidfire_cli.view.page.panel import Panel

    script, here = panel_script(), ExperimentDir(home.path.absolute())  # the notebook may go elsewhere
    if script is None:
        raise Unavailable(NOT_BUILT)
    asked = partial(ask, source="notebook", path=path)
    return Panel(replace(experiment_of(lambda: here), names=list, ask=asked), script, read_only)


def run_details(home: ExperimentDir, number: int) -> dict[str, Plain]:
    """What `show` reports about the run, and where each value of its config comes from. Raises Refusal."""
    seen = overview(home.journal, is_held(home.lock), unlisted=True)
    return _details(seen, _row(seen, number), _file(home))


def run_why(home: ExperimentDir, number: int) -> dict[str, Plain]:
    """What `why` reports about the run. Raises Refusal."""
    return why_document(account_of(overview(home.journal, is_held(home.lock), unlisted=True), number))


def run_log(home: ExperimentDir, number: int) -> str:
    """The end of the run's log; empty where the run printed nothing. Raises Refusal."""
    return _log(home, _found(home, number), TAIL)


def rungs(home: ExperimentDir) -> dict[str, Plain]:
    """The brackets of early stopping. Raises Refusal."""
    past = history(home.journal)
    return rungs_document(
        past, overview(home.journal, is_held(home.lock), unlisted=True).rows if past else ()
    )


def requests(home: ExperimentDir) -> dict[str, Plain]:
    """The requests of the experiment, newest first. Raises Refusal."""
    taken = reversed(requests_taken(home.journal))
    return {
        "requests": [{**taken_record(each), "text": command_text(each.taken.request.ask)} for each in taken]
    }


def importance(home: ExperimentDir, split: str, name: str) -> dict[str, Plain]:
    """How important each knob is for the metric, or why that is unknown. Raises Refusal."""
    seen = overview(home.journal, is_held(home.lock))
    usual = seen.objective
    direction = usual.direction if name == usual.metric else usual_direction(name) or usual.direction
    return importance_document(seen.rows, split, name, direction, varied(seen))


def ask(
    home: ExperimentDir, body: Any, source: Source = "web", path: tuple[str, ...] = ()
) -> dict[str, Plain]:
    """Carry out a request: a running fit does it, else this process under the experiment's lock.

    With `dry_run` in the body, nothing is changed, and `effects` say what would be. `path` is where a clone's
    MLSpec is looked up beside the working directory.
    Raises Refused if `body` is not a valid request or another process holds the lock and does not answer,
    and Refusal with what is wrong about clones.
    """
    dry = body.pop("dry_run", False) if isinstance(body, dict) else False
    if not isinstance(dry, bool):
        raise Refused(400, "`dry_run` must be true or false")
    request, told = _request(body, source), list[str]()
    try:
        if isinstance(request.ask, CloneRun):
            check_clones(home, request.ask, path)
        if dry:
            seen = overview(home.journal, is_held(home.lock), unlisted=True)
            told = [*effects(request, reply := foreseen(request, seen), seen)]
        else:
            reply = send(home, request)
    except Unavailable as unavailable:
        raise Refused(503, f"the clone cannot be checked: {unavailable}") from None
    except Held as held:
        raise Refused(503, f"the experiment is in use by another process ({held})", "try again") from None
    except ValueError as error:
        raise Refused(400, str(error)) from None
    answers = [{**answer_record(answer), "born": answer.born or None} for answer in reply.answers]
    found: dict[str, Plain] = {"live": reply.live, "answers": [dict(each) for each in answers]}
    return {**found, "effects": [*told]} if dry else found


def contents(home: ExperimentDir) -> tuple[Contents, int]:
    """What a report holds, and its number of runs; at most `PAGES` of them have a page. Raises Refusal."""
    alive = is_held(home.lock)
    seen, past, file = overview(home.journal, alive, unlisted=True), history(home.journal), _file(home)
    found = snapshot(home, seen)
    known = [(split, name) for split, names in known_metrics(seen.rows).items() for name in names]
    parts: dict[str, Plain] = {"requests": requests(home), "rungs": rungs_document(past, seen.rows)}
    for split, name in known:
        address = f"importance?{urlencode({'split': split, 'metric': name})}"
        parts[address] = importance(home, split, name)
    for row in _with_pages(seen):
        at = f"runs/{row.number}"
        parts[at] = _details(seen, row, file)
        parts[f"{at}/why"] = {"why": [*why(account_of(seen, row.number, past))]}
        parts[f"{at}/log"] = {"log": _log(home, row, LAST)}
    series = {f"{split}.{name}": packed(home.journal, split, name).encoded() for split, name in known}
    return Contents(found, series, packed_times(home.journal).encoded(), parts), len(seen.rows)


def _with_pages(seen: Overview) -> Sequence[RunRow]:
    """All runs, or if there are more than `PAGES`, some of the best, of the failed and of the first ones."""
    if len(seen.rows) <= PAGES:
        return seen.rows
    best = [row for place in ranking(seen.rows, seen.objective) for row in place.rows]
    failed = [row for row in seen.rows if row.state is RunState.FAILED]
    each = PAGES // 3
    chosen = {row.number: row for row in (*best[:each], *failed[:each], *seen.rows[:each])}
    return [*chosen.values()]


def _details(seen: Overview, row: RunRow, file: ExperimentFile | None) -> dict[str, Plain]:
    page = run_page_document(page_of(seen, row))
    return {**page, "provenance": [*_provenance(seen.home, row, file)]}


def _log(home: ExperimentDir, row: RunRow, most: int) -> str:
    """The last lines of the run's log, at most `most` bytes; empty without a log."""
    try:
        return log_end(directory_of(home, row) / LOG, most).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _file(home: ExperimentDir) -> ExperimentFile | None:
    """The file that was trained; None where there is none, as for an experiment from Python."""
    try:
        return reload(home.file)
    except (Refusal, OSError):
        return None


def _request(body: Any, source: Source) -> Request:
    """The request in `{"verb": "stop", "runs": [3], …}`. Raises Refused."""
    if not isinstance(body, dict) or body.get("verb") not in VERBS:
        raise Refused(400, f"expected a verb: {', '.join(VERBS)}")
    usual = new_request(Undo(), source)
    rest = {name: value for name, value in body.items() if name not in ("verb", "id", "if_state")}
    plain = {
        "is": "Request",
        "id": body.get("id", usual.id),
        "source": source,
        "ask": {"is": VERBS[body["verb"]], **rest},
        "if_state": body.get("if_state"),
    }
    try:
        return decode_request(json.dumps(plain))
    except ValueError as error:
        raise Refused(400, str(error)) from None


def _found(home: ExperimentDir, number: int) -> RunRow:
    """The run, read without the others. Raises Refusal if it does not exist."""
    return _row(overview(home.journal, is_held(home.lock), unlisted=True, only=[number]), number)


def _row(seen: Overview, number: int) -> RunRow:
    """The run's row. Raises Refusal if it does not exist."""
    for row in seen.rows:
        if row.number == number:
            return row
    raise Refusal([missing(seen, number)])


def _provenance(home: ExperimentDir, row: RunRow, file: ExperimentFile | None) -> Iterator[Plain]:
    """Every knob with its value, how it was chosen, and its place in the file where that is known."""
    first, changes = row, dict[str, int]()
    while isinstance(first.origin, Clone | OomRetry | Fork):
        parent = _found(home, first.origin.run)
        for path, value in knobs(first.config):
            if cell(parent.config, dotted(path)) != value:
                changes.setdefault(dotted(path), first.number)
        first = parent
    written: dict[str, tuple[str, str | None]] = {}
    if file:
        own = Run(first.number, first.id, first.group, first.leaf, first.seed, first.replicate)
        for found in provenance(file, own):
            written[found.knob] = how(found), position(found.span) if found.span else None
    for path, value in knobs(row.config):
        chosen, place = written.get(dotted(path), ("", None))
        if by := changes.get(dotted(path)):
            chosen, place = f"changed for run {by}", None
        yield {"knob": dotted(path), "value": value, "how": chosen, "at": place}
