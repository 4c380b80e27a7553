"""Choose a trained run and have a worker use it, beside a `fit` that may be training it."""

import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rapidfire_cli.app.admission import assignment
from rapidfire_cli.app.control.trash import is_cleaned
from rapidfire_cli.app.devices import DeviceRequest, seats, setup
from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.experiments import LoadedExperiment, mlspec_of
from rapidfire_cli.app.files import code, reload
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.resume_check import changed_since
from rapidfire_cli.app.streams import debugging
from rapidfire_cli.engine.local.backend import WORKER, LocalBackend, log_of
from rapidfire_cli.engine.messages import Evaluate, Export, Finding, Predict, Probed, Report, Setup, Use, Used
from rapidfire_cli.engine.ports import Slot, WorkerGone
from rapidfire_cli.engine.worker_session import WorkerSession
from rapidfire_cli.facts import RunOpened
from rapidfire_cli.manifest.identity import identify
from rapidfire_cli.problems import Problem, Refusal, Span
from rapidfire_cli.store.explain import missing
from rapidfire_cli.store.known_runs import KnownRun, known_runs
from rapidfire_cli.store.queries import Overview, RunRow
from rapidfire_cli.store.ranking import ranking
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.terms import Epoch
from rapidfire_cli.view.audience import waiting

BEST = "best"
"""The word for the best run, in the place of a number."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The run that is asked for, as on the command line."""

    run: int | str  # a number, or BEST
    at: Epoch = "last"
    experiment: str | None = None  # file, name or directory; None means the newest
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """A run to use."""

    seen: Overview
    file: ExperimentFile
    row: RunRow
    known: KnownRun
    at: Epoch

    @property
    def threads(self) -> int:
        """The CPU threads that it was trained with, on which its bits depend."""
        told = json.loads(self.known.opened.environment) if self.known.opened else {}
        return int(told.get("threads", 1))


def choose(asked: Asked) -> Chosen:
    """Find the run. Raises Refusal unless it exists and has a durable epoch."""
    seen = open_overview(asked.experiment, asked.parent, unlisted=asked.run != BEST)
    row = _row(seen, asked)
    file = reload(seen.home.file)
    if asked.at == "best" and row.best is None:
        message = f"run {row.number} has no best epoch"
        found = f"no value of {seen.objective.metric} in {row.epoch} of {row.epochs} epochs"
        raise Refusal([Problem("E620", message, found=found)])
    chunks = seen.metadata.chunks
    known = next(one for one in known_runs(seen.home.journal, chunks) if one.run.number == row.number)
    run = known.run
    same = identify(file.mlspec, file.data, run.seed, run.replicate, run.warm_start)
    if same(run.config) != run.id:
        raise Refusal([_of_another_file(run.number, seen.home.file)])
    if known.durable < chunks:
        raise Refusal([_deleted(row) if is_cleaned(seen.home, row) else _no_epoch(row)])
    return Chosen(seen, file, row, known, asked.at)


def use(chosen: Chosen, task: Evaluate | Predict | Export) -> Used:
    """Have a worker carry out the task. Raises Refusal with what went wrong, Unavailable."""
    run = chosen.known.run
    order = Use(assignment(chosen.seen.home, run), chosen.at, task)
    with TemporaryDirectory(prefix="rapidfire-") as logs:
        slot, first = prepared(chosen, DeviceRequest())
        session = WorkerSession(LocalBackend([slot], WORKER, {slot.index: first}, Path(logs)), slot)
        try:
            with waiting(f"using run {run.number}", sys.stderr, os.environ):
                answer: Report = session.ask(order)
        except WorkerGone as gone:
            answer = Used((Finding(-1, (), "E624", f"using run {run.number} failed", f"its worker {gone}"),))
        finally:
            session.close()
        assert isinstance(answer, Used | Probed)
        if debugging(os.environ) or not answer.findings:  # which say what there is to say
            _show(log_of(Path(logs), slot.index))
    return answered(chosen, answer)


def prepared(chosen: Chosen, devices: DeviceRequest) -> tuple[Slot, Setup]:
    """The slot to use, and the first order to its worker, which keeps no prepared rows."""
    file, home = chosen.file, chosen.seen.home
    (slot, *_), _ = seats(file, devices)
    loaded = LoadedExperiment(file, mlspec_of(file, home.file), (), home)
    return slot, replace(setup(loaded, slot, chosen.threads), data_cache=0, disk_cache=0)


def answered(chosen: Chosen, answer: Used | Probed) -> Used:
    """The worker's answer; one line on stderr where the code has changed. Raises Refusal, Unavailable."""
    if answer.findings:
        raise Refusal(map(problem, answer.findings))
    assert isinstance(answer, Used)
    if answer.unavailable:
        raise Unavailable(answer.unavailable)
    if answer.opened:
        tell_changes(chosen, answer.opened, answer.texts)
    if answer.is_inside:
        told = f"these are the weights of step {answer.step}, inside epoch {answer.epoch + 1}"
        print(f"note: no checkpoint ends with an epoch; {told}", file=sys.stderr)
    return answer


def tell_changes(chosen: Chosen, now: RunOpened, texts: str = "{}") -> None:
    """Say on stderr, in a line, what the run was trained with that is different now."""
    if was := chosen.known.opened:
        for told in changed_since(was, now, texts):
            print(told, file=sys.stderr)


def _show(log: Path) -> None:
    """Print what the user's code printed, to stderr."""
    if log.is_file():
        sys.stderr.write(log.read_text("utf-8", "replace"))


def _row(seen: Overview, asked: Asked) -> RunRow:
    if asked.run == BEST:
        found = next((place for place in ranking(seen.rows, seen.objective) if place.value), None)
        if found is None or found.failed:
            raise Refusal(
                [Problem("E620", "no run has finished an epoch", hint="train with `rapidfire fit FILE`")]
            )
        return found.row
    for row in seen.rows:
        if row.number == asked.run:
            return row
    raise Refusal([missing(seen, int(asked.run))])


def problem(finding: Finding) -> Problem:
    """The finding as a problem, at its place in the user's code if it has one."""
    at = code(Span(*finding.at)) if finding.at else None
    told = (finding.found, finding.expected, finding.hint)
    return Problem(finding.code, finding.message, at, *told, traceback=finding.traceback)


def _deleted(row: RunRow) -> Problem:
    hint = "train it again with `rapidfire fit FILE`, where FILE asks for it"
    return Problem("E620", f"the weights of run {row.number} were deleted by `rapidfire clean`", hint=hint)


def _no_epoch(row: RunRow) -> Problem:
    hint = "wait for its next checkpoint, or train it with `rapidfire fit FILE`"
    message = f"run {row.number} has no checkpoint of a finished epoch"
    return Problem("E620", message, found=f"{row.state}, epoch {row.epoch} of {row.epochs}", hint=hint)


def _of_another_file(number: int, file: Path) -> Problem:
    message = f"run {number} was trained with another `mlspec` or `data` than {file} has"
    hint = "put the earlier version of the experiment file back and run `rapidfire fit FILE`"
    return Problem("E622", message, hint=hint)
