"""`fit`: every run of a file, trained; what is trained already is kept."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from rapidfire_cli.app import continuing
from rapidfire_cli.app.brackets import Membership, changes, first_rule, memberships, remaining, revived
from rapidfire_cli.app.failing import Unavailable
from rapidfire_cli.app.gates import FailFast, Requirement, Shard, judge
from rapidfire_cli.app.looking import conclude
from rapidfire_cli.app.machinery import WORKER, Machinery, seats, setup
from rapidfire_cli.app.probing import problems
from rapidfire_cli.app.subjects import Subject
from rapidfire_cli.durable import lock, write
from rapidfire_cli.engine.driver import CodeChanged, Driver, Job, NoWorker, Patience
from rapidfire_cli.engine.messages import Assignment, Probe
from rapidfire_cli.engine.ports import Audience, Slot
from rapidfire_cli.engine.signals import StopSignal, stop_signal
from rapidfire_cli.engine.workers import LocalWorkers
from rapidfire_cli.manifest import codec
from rapidfire_cli.manifest.numbering import number
from rapidfire_cli.manifest.shapes import representatives
from rapidfire_cli.manifest.varied import varied
from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.about import About
from rapidfire_cli.store.history import Past, history
from rapidfire_cli.store.home import Home, set_aside
from rapidfire_cli.store.journal import SqliteJournal
from rapidfire_cli.store.queries import overview
from rapidfire_cli.store.ranking import usual_objective
from rapidfire_cli.store.standings import Standing, standings
from rapidfire_cli.syntax.printer import to_yaml
from rapidfire_cli.terms import Objective, Run
from rapidfire_cli.view.audience import waiting, watching
from rapidfire_cli.view.board import Board, board
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.wording import counted

CHECKPOINTS = "checkpoints/step-*"

Watch: TypeAlias = Callable[[Board], AbstractContextManager[Audience]]
"""Who is told of the training, given the board before its first fact."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A subject's runs, under their lasting numbers, and where the known ones stand."""

    subject: Subject
    runs: tuple[Run, ...]
    stood: Mapping[int, Standing]  # by number
    members: tuple[Membership, ...]  # of early stopping's brackets
    past: tuple[Past, ...]  # what they heard and decided
    left: tuple[Run, ...]  # to train; failed runs are tried again


@dataclass(frozen=True, slots=True)
class Request:
    """How to train, beyond what the file says."""

    machinery: Machinery = field(default_factory=Machinery)
    shard: Shard | None = None
    fresh: bool = False  # start over
    accepted: bool = False  # code and data may have changed since
    fail_fast: bool = False  # the first run that fails stops the others
    required: tuple[Requirement, ...] = ()


def fit(subject: Subject, request: Request, output: Output) -> int:
    """Train what is not trained yet and print the ranking; the exit code."""
    events = sys.stdout if output is Output.JSONL else None
    with stop_signal() as stop:
        train(subject, request, stop, lambda seen: watching(seen, events, sys.stderr, os.environ))
        code = conclude(subject.home, stop, output)
    return code or judge(subject.home, request.required)


def train(subject: Subject, request: Request, stop: StopSignal, watch: Watch) -> None:
    """Train what is not trained yet, while holding the experiment. Raises Held, Refusal, Unavailable."""
    if request.fresh:
        _start_over(subject.home)
    with _held(subject.home):
        plan = _plan(subject, request.shard)
        if plan.left:
            _train(plan, request, stop, watch)


@contextmanager
def _held(home: Home) -> Iterator[None]:
    home.path.mkdir(parents=True, exist_ok=True)
    with lock(home.lock, f"process {os.getpid()}"):
        yield


def _start_over(home: Home) -> None:
    with _held(home):
        if aside := set_aside(home):
            print(f"{home.path} is now {aside}", file=sys.stderr)


def _plan(subject: Subject, shard: Shard | None) -> Plan:
    known = standings(subject.home.journal, subject.file.execution.chunks)
    whole = number(subject.runs, [one.run for one in known]).listed
    runs = shard.of(whole) if shard else whole
    stood = {one.run.number: one for one in known}
    past = history(subject.home.journal) if first_rule(subject.file) else ()
    members = memberships(subject.file, whole, runs, stood, past)
    return Plan(subject, runs, stood, members, past, remaining(runs, stood, members, past))


def _train(plan: Plan, request: Request, stop: StopSignal, watch: Watch) -> None:
    home = plan.subject.home
    home.misc.mkdir(exist_ok=True)
    slots, threads = seats(plan.subject.file, request.machinery)
    starting = f"starting {counted(min(len(slots), len(plan.left)), 'worker')}"
    with _driver(plan.subject, slots, threads, stop) as driver:
        with waiting(starting, sys.stderr, os.environ):
            _probe(plan, request, driver)
        about = _enroll(plan, journal := SqliteJournal(home.journal))
        jobs = {run.number: _job(plan, run) for run in plan.left}
        changed = changes(plan.members, plan.stood)
        found = revived(plan.members, jobs, about.chunks, (*plan.past, *changed))
        news = (*changed, *(decision for each in found for decision in each.decisions))
        journal.record(news)
        with watch(board(about, overview(home.journal, alive=True).rows)) as people:
            people.tell(news)
            audience = FailFast(people, stop) if request.fail_fast else people
            try:
                driver.train(jobs, [each.bracket for each in found], journal, audience)
            except CodeChanged as change:
                raise Refusal([continuing.meanwhile(change)]) from None
        journal.close()


@contextmanager
def _driver(subject: Subject, slots: Sequence[Slot], threads: int, stop: StopSignal) -> Iterator[Driver]:
    setups = {slot.index: setup(subject, slot, threads) for slot in slots}
    execution = subject.file.execution
    driver = Driver(
        LocalWorkers(WORKER, setups, subject.home.misc),
        slots,
        stop.asked,
        execution.chunks,
        Patience(execution.hang_timeout),
    )
    try:
        yield driver
    finally:
        driver.close()


def _probe(plan: Plan, request: Request, driver: Driver) -> None:
    """Ask a worker about every shape of run, and about what has changed under those that continue.

    Raises Refusal, located in the file, with all that it found.
    """
    samples = representatives(plan.runs)
    continued = tuple(_job(plan, run).assignment for run in plan.left if _continues(plan, run))
    question = Probe(tuple(run.config for run in samples), continued)
    try:
        answer = driver.probe(question, len(plan.left))
    except NoWorker as ending:
        log = plan.subject.home.misc / "worker-0.log"
        raise Unavailable(f"no worker came up: the first {ending}; {log} may say why") from None
    if answer is None:
        return
    required = [(one.metric, one.at) for one in request.required]
    if found := problems(plan.subject.file, samples, answer, required):
        raise Refusal(found)
    continuing.check(plan.stood, answer, request.accepted)


def _continues(plan: Plan, run: Run) -> bool:
    """Whether a checkpoint is there to go on from."""
    return run.number in plan.stood and any(plan.subject.home.run(run).glob(CHECKPOINTS))


def _enroll(plan: Plan, journal: SqliteJournal) -> About:
    """Write down what is about to be trained: the journal first, then what people read."""
    file, home = plan.subject.file, plan.subject.home
    about = About(file.name, _objective(plan), varied(file), file.execution.chunks)
    journal.enroll(about, plan.runs, [_epochs(run) for run in plan.runs])
    write(home.manifest, codec.header(file) + "".join(map(codec.write, plan.runs)))
    write(home.file, to_yaml(file))
    return about


def _objective(plan: Plan) -> Objective:
    """The file's, else what ends runs early, else the usual one."""
    if rule := first_rule(plan.subject.file):
        return plan.subject.file.objective or Objective(rule.metric, rule.direction)
    metrics = (run.leaf.get("named_metrics", ()) for run in representatives(plan.runs))
    named = dict.fromkeys(name for names in metrics for name in names)
    return plan.subject.file.objective or usual_objective(list(named))


def _epochs(run: Run) -> int:
    epochs: int = run.leaf["train"]["epochs"]
    return epochs


def _job(plan: Plan, run: Run) -> Job:
    assignment = Assignment(run.number, run.config, run.seed, str(plan.subject.home.run(run)))
    goal = _epochs(run) * plan.subject.file.execution.chunks
    known = plan.stood.get(run.number)
    return Job(assignment, goal, known.durable, known.epoch) if known else Job(assignment, goal)
