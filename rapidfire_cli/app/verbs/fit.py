"""`fit`: train all runs of a file, except those already trained."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from rapidfire_cli.app import resume_check
from rapidfire_cli.app.admission import FitAdmission, write_manifest
from rapidfire_cli.app.beginnings import begin_with_known
from rapidfire_cli.app.brackets import changes, revived
from rapidfire_cli.app.ci import FailFast, Requirement, Shard, say_gates
from rapidfire_cli.app.ci_reports import write_reports
from rapidfire_cli.app.control.cloning import Cloning
from rapidfire_cli.app.control.offline import catch_up
from rapidfire_cli.app.control.serving import Serving, taking_requests
from rapidfire_cli.app.control.steering import Steering, standings_of
from rapidfire_cli.app.control.waiting import Waiting
from rapidfire_cli.app.described import metadata_of, objective_of
from rapidfire_cli.app.devices import DeviceRequest, data_workers, setup, spread_note
from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.experiments import LoadedExperiment
from rapidfire_cli.app.forking import Forks
from rapidfire_cli.app.holding import held, own_rows, seldom_collected, start_over
from rapidfire_cli.app.packing import measured, most_at_once
from rapidfire_cli.app.planning import Plan, planned
from rapidfire_cli.app.probing import deciding, preparation, problems, question
from rapidfire_cli.app.results import conclude, judged
from rapidfire_cli.app.searching import Searches
from rapidfire_cli.app.streams import ReaderGone, lags, settle, unhurried
from rapidfire_cli.app.tracking.beside import checked_trackers, log_rest, logged
from rapidfire_cli.app.workplaces import Workplace, workplace
from rapidfire_cli.durable import disk, failpoints, publication
from rapidfire_cli.engine.driver import Driver
from rapidfire_cli.engine.jobs import CodeChanged, Job, NoWorker, Paused, Timeouts
from rapidfire_cli.engine.local.backend import log_of
from rapidfire_cli.engine.messages import Probe, Probed, Setup
from rapidfire_cli.engine.ports import Audience, Slot, gpus_of
from rapidfire_cli.engine.signals import StopSignal, stop_signal
from rapidfire_cli.facts import Fact, RunsPacked
from rapidfire_cli.manifest.origin import nearest
from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.journal import SqliteJournal
from rapidfire_cli.store.metadata import Metadata
from rapidfire_cli.store.queries import Overview, overview
from rapidfire_cli.store.ranking import known_metrics, unknown
from rapidfire_cli.store.requests_taken import requests_taken
from rapidfire_cli.syntax.printer import to_yaml
from rapidfire_cli.terms import Tracker
from rapidfire_cli.view.audience import shielded, waiting, watching
from rapidfire_cli.view.board import Board, board
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.wording import counted

Watch: TypeAlias = Callable[[Board], AbstractContextManager[Audience]]
"""Who is told of the training, given the board before its first fact."""


@dataclass(frozen=True, slots=True)
class Request:
    """How to train, beyond what the file says."""

    devices: DeviceRequest = field(default_factory=DeviceRequest)
    shard: Shard | None = None
    fresh: bool = False  # start over
    accepted: bool = False  # accept changed code and data
    fail_fast: bool = False  # the first run that fails stops the others
    required: tuple[Requirement, ...] = ()
    stay: bool = False  # wait for requests when nothing is left to train
    trackers: tuple[Tracker, ...] = ()  # to log to, beside those of the file
    junit: Path | None = None  # a report to write at the end


def fit(loaded: LoadedExperiment, request: Request, output: Output) -> int:
    """Train what is not trained yet and print the ranking; return the exit code."""
    events = sys.stdout if output is Output.JSONL else None
    with stop_signal() as stop, unhurried(stop.asked):
        seen = train(
            loaded, request, stop, lambda board: watching(board, events, sys.stderr, os.environ, lags)
        )
        settle(sys.stderr)  # the ranking follows what was shown of the training
        gates = judged(seen, stop, output, request.required)
        code = conclude(seen, stop, output, gates)
    write_reports(seen, gates, request.junit, os.environ)
    missed = say_gates(gates)
    return code or missed


def train(loaded: LoadedExperiment, request: Request, stop: StopSignal, watch: Watch) -> Overview:
    """Train what is not trained yet, holding the experiment's lock; return its state.

    A refusal leaves everything as it was. Raises Held, Refusal, Unavailable.
    """
    failpoints.arm(os.environ)
    home = loaded.home
    request = replace(request, trackers=checked_trackers((*loaded.file.trackers, *request.trackers)))
    aside = start_over(home) if request.fresh else None
    try:
        with held(home), seldom_collected():
            catch_up(home)
            plan = planned(loaded, request.shard)
            if plan.left or request.stay or plan.proposing or any(each.is_open for each in plan.members):
                with workplace(loaded, request.devices, plan.left, plan.outline, stop.asked) as there:
                    _train(plan, request, stop, watch, there)
            else:
                _settle(plan, request)
                log_rest(home, request.trackers)
            return overview(home.journal, alive=False)
    except Refusal:
        if aside and not home.path.exists():
            disk.rename(aside, home.path)
            disk.sync(home.path.parent)
            print(f"moved {aside} back to {home.path}", file=sys.stderr)
        raise


def _settle(plan: Plan, request: Request) -> None:
    """Record the requested runs when all are trained already. Raises Refusal for a metric that none has."""
    home, file = plan.loaded.home, plan.loaded.file
    groups = {run.number: run.group for run in plan.runs}
    asked = [(metric, nearest(file.origins, at), group) for metric, at, group in deciding(file)]
    asked += [(one.metric, one.at, None) for one in request.required]
    kept = overview(home.journal, alive=False, unlisted=True).rows if asked and plan.stood else ()
    rows = [row for row in kept if row.number in groups]
    known = [
        (metric, at, known_metrics(row for row in rows if group in (None, groups[row.number])))
        for metric, at, group in asked
    ]
    found = [unknown(metric, names, at) for metric, at, names in known if names]
    if wrong := list(filter(None, found)):
        raise Refusal(wrong)
    _enroll(plan, journal := SqliteJournal(home.journal))
    journal.close()


def _train(plan: Plan, request: Request, stop: StopSignal, watch: Watch, there: Workplace) -> None:
    home = plan.loaded.home
    for directory in (home.misc, home.runs):
        disk.make_directory(directory, below=home.path)
    disk.sync(home.path, home.path.parent)  # the process that made them may have been killed before it synced
    with (
        own_rows(home),
        taking_requests(home, request.stay) as serving,
        nullcontext(_packed(plan, request, there, stop, serving)) as place,
        _driver(plan, place, stop, serving) as driver,
        Searches(home, plan.loaded.file, plan.runs, len(place.slots)) as proposers,
    ):
        plan = replace(plan, outline=plan.outline.on(gpus := gpus_of(place.slots)))
        print(end=spread_note(plan.loaded.file, gpus), file=sys.stderr)
        used = min(len(place.slots), max(1, len(plan.left)))
        _probe(plan, request, driver, f"starting {counted(used, 'worker')}")
        metadata = _enroll(plan, journal := SqliteJournal(home.journal))
        begin_with_known(home, plan.loaded.file, plan.alone, plan.stood.values())
        waiting = Waiting(home, plan.runs, plan.left)
        jobs = {run.number: plan.job(run) for run in plan.left if run.number not in waiting.runs}
        changed = changes(plan.members, plan.stood, plan.outline.epochs)
        found = revived(plan.members, jobs, metadata.chunks, (*plan.past, *changed))
        news = (*changed, *(decision for each in found for decision in each.decisions))
        packed = [RunsPacked(place.packing.runs, place.packing.why)] if place.packing.why else []
        journal.record([*packed, *news])
        proposers.brackets = {member.group: member.number for member in plan.members if member.is_open}
        groups = {member.number: member.group for member in plan.members}
        brackets = [(groups[each.bracket.number], each.bracket) for each in found]
        forks = Forks(home, plan.loaded.file, plan.runs, brackets, plan.kept)
        serving.begin(steering := _steering(plan, jobs, waiting, news))
        waiting.standings = forks.standings = steering.standings
        forks.kept_by_request = steering.kept
        seen = board(metadata, overview(home.journal, alive=True).rows)
        with (
            logged(home, request.trackers),
            shielded(watch(seen), passing=(ReaderGone, OSError)) as people,
        ):
            people.tell([*packed, *news])
            audience = FailFast(people, stop) if request.fail_fast else people
            admission = FitAdmission(home, plan.loaded.file, plan.runs, plan.free, waiting, proposers, forks)
            try:
                driver.train(jobs, [each.bracket for each in found], journal, audience, admission)
            except CodeChanged as change:
                raise Refusal([resume_check.code_changed(change)]) from None
            except Paused as pause:
                raise Unavailable(
                    f"{pause}\nhint: saved progress is kept; rerun the same command to continue"
                ) from None
        journal.close()
    for told in (*waiting.unbegun(), *proposers.said):
        print(told, file=sys.stderr)


def _packed(plan: Plan, request: Request, place: Workplace, stop: StopSignal, serving: Serving) -> Workplace:
    """The place with as many runs on each GPU as a worker measures to fit, where that is asked for."""
    if place.repacked is None:
        return place
    with _driver(plan, place, stop, serving) as driver:
        _probe(plan, request, driver, "starting a worker to measure the memory of runs")
        grows = request.stay or plan.proposing
        packing = measured(driver, plan.left, None if grows else most_at_once(plan.left, place.gpus))
    if packing is None:
        return place
    print(packing.why, file=sys.stderr)
    return place.repacked(packing)


@contextmanager
def _driver(plan: Plan, place: Workplace, stop: StopSignal, serving: Serving) -> Iterator[Driver]:
    loaded, objective = plan.loaded, objective_of(plan.loaded.file, plan.outline)
    beside = data_workers(loaded.file, place.slots)

    def setup_of(slot: Slot) -> Setup:
        return replace(
            setup(loaded, slot, place.threads, beside), objective=objective, working=place.packing.working
        )

    execution = loaded.file.execution
    driver = Driver(
        place.backend(setup_of),
        stop.asked,
        execution.chunks,
        Timeouts(execution.hang_timeout),
        requests=serving,
    )
    try:
        yield driver
    finally:
        driver.close()


def _probe(plan: Plan, request: Request, driver: Driver, starting: str) -> None:
    """Ask a worker about every shape of run, and about what has changed under those that continue.

    Raises Refusal, located in the file, with all that it found.
    """
    asked, samples = question(plan.outline, plan.resumed)
    try:
        with waiting(starting, sys.stderr, os.environ):
            answer = driver.probe(asked, max(1, len(plan.left)))
    except NoWorker as ending:
        log = log_of(plan.loaded.home.misc, ending.slot)
        raise Unavailable(f"workers failed to start: the last one {ending}; see {log}") from None
    if answer is None:
        return
    required = [(one.metric, one.at) for one in request.required]
    if found := problems(plan.loaded.file, samples, answer, required):
        raise Refusal(found)
    if answer.prepares:
        answer = _prepare(plan, request, driver)
    if answer:
        resume_check.check_resume(plan.opened, plan.runs, answer, request.accepted)


def _prepare(plan: Plan, request: Request, driver: Driver) -> Probed | None:
    """Have a worker run the MLSpec's `prepare`; return what continued runs depend on.

    None when a stop was asked for meanwhile. Raises Refusal, Unavailable.
    """
    kept = not request.accepted and any(one.opened for one in plan.stood.values())
    order = preparation(plan.loaded.runs, plan.loaded.file.seed, kept)
    try:
        with waiting("running prepare", sys.stderr, os.environ):
            answer = driver.probe(Probe((), plan.resumed, prepare=order), len(plan.left))
    except NoWorker as ending:
        log = log_of(plan.loaded.home.misc, ending.slot)
        raise Unavailable(f"`prepare` did not finish: its worker {ending}; see {log}") from None
    if answer and (found := problems(plan.loaded.file, (), answer)):
        raise Refusal(found)
    return answer


def _steering(plan: Plan, jobs: Mapping[int, Job], waiting: Waiting, news: Sequence[Fact]) -> Steering:
    """What carries out requests during this fit, which trains a run again once somebody resumes it."""
    runs = {run.number: run for run in plan.runs}
    taken = [each.taken for each in requests_taken(plan.loaded.home.journal)]
    steering = Steering(
        plan.loaded.home,
        (*plan.runs, *(one.run for one in plan.stood.values())),
        standings_of(plan.stood.values(), plan.runs),
        taken,
        Cloning(plan.loaded.home, plan.loaded.file),
        lambda run: plan.job(runs[run]) if run in runs and run not in (*jobs, *waiting.runs) else None,
    )
    steering.learn(news)
    return steering


def _enroll(plan: Plan, journal: SqliteJournal) -> Metadata:
    """Record the requested runs: in the journal first, then in the manifest and experiment.yaml."""
    file, home = plan.loaded.file, plan.loaded.home
    metadata = replace(metadata_of(file, plan.outline), source=plan.source)
    journal.enroll(metadata, plan.runs, [plan.outline.epochs[run.number] for run in plan.runs])
    write_manifest(home, file, plan.runs)
    publication.write(home.file, to_yaml(file))
    return metadata
