"""`check`: find every problem of an experiment that can be found before training."""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from rapidfire_cli.app.devices import DeviceRequest, check_gangs, seats, spread_note
from rapidfire_cli.app.errors import REFUSED, say
from rapidfire_cli.app.experiments import MOST_RUNS, LoadedExperiment, mlspec_of
from rapidfire_cli.app.files import Given, load
from rapidfire_cli.app.interviewing import interview, probed
from rapidfire_cli.app.probing import located, preparation, problems, question
from rapidfire_cli.durable import disk
from rapidfire_cli.engine.messages import Finding, Probe, Probed, Smoke, Smoked
from rapidfire_cli.engine.ports import WorkerGone
from rapidfire_cli.engine.worker_session import WorkerSession
from rapidfire_cli.manifest.counting import planned
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.origin import key_of, origin
from rapidfire_cli.manifest.representatives import Representatives, heaviest, representatives
from rapidfire_cli.problems import Problem, Refusal, Severity, did_you_mean
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.terms import Run
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.wording import counted

PATIENCE = 10.0  # seconds for estimates without `--smoke`: loading data can take hours (assumed)

Smokes: TypeAlias = "list[tuple[Run, Smoked]]"
"""Runs, and what came of training one batch of each."""


def check(given: Given, static: bool, smoke: bool, output: Output) -> int:
    """Print every problem; the exit code.

    Runs are of one kind when they are equal but for numbers; of very many the first 100,000 are looked at.
    Every `train` section is looked at; of more than 1,000 those with the smallest and largest numbers.
    """
    try:
        file = load(*given)
        runs = tuple(islice(expand(file), MOST_RUNS))
        outline = representatives(runs)
        asked = () if static else _asked(file, given.path, runs, outline, smoke)
    except Refusal as refusal:
        return say(refusal.problems, output)
    found = (*file.warnings, *asked)
    say(found, output)
    print(end=spread_note(file), file=sys.stderr)
    if any(problem.severity is Severity.ERROR for problem in found):
        return REFUSED
    if output is Output.TABLE:
        kinds = counted(len(outline.kinds), "kind")
        print(f"{given.path}: {counted(planned(file), 'run')}, {kinds}: no problems found")
    return 0


def _asked(
    file: ExperimentFile, path: Path, runs: Sequence[Run], outline: Representatives, smoke: bool
) -> tuple[Problem, ...]:
    """The problems that a worker finds; trial batches run only if there are no other problems."""
    if file.execution.backend == "local":  # only a fit knows a cluster
        check_gangs(file, runs, outline, seats(file, DeviceRequest())[0])
    asked, samples = question(outline)
    with TemporaryDirectory() as place:
        loaded = LoadedExperiment(file, mlspec_of(file, path), tuple(runs), ExperimentDir(Path(place)))
        disk.make_directory(loaded.home.misc)
        with interview(loaded) as session:
            answer = probed(session, loaded, asked)
            found = problems(file, samples, answer)
            if smoke and answer.prepares and not found:
                found = problems(file, (), _prepared(session, runs, file.seed))
            kinds = len(asked.leaves)
            if found:
                return found
            if not smoke:
                here = runs if file.execution.backend == "local" else ()
                return _smoked(file, samples, _estimates(session, here, PATIENCE))
        with interview(loaded) as session:  # of its own, as user code may keep tensors without data
            large = _estimates(session, runs)
        if found := _smoked(file, samples, large):
            return found
        with interview(loaded) as session:
            return _smoked(file, samples, _smokes(session, samples[:kinds], samples[kinds:]))


def _prepared(session: WorkerSession, runs: Sequence[Run], seed: int) -> Probed:
    try:
        answer = session.ask(Probe((), prepare=preparation(runs, seed)))
    except WorkerGone as gone:
        return Probed((Finding(-1, ("mlspec",), "E415", "`prepare` failed", f"its worker {gone}"),))
    assert isinstance(answer, Probed)
    return answer


def _smokes(session: WorkerSession, kinds: Sequence[Run], others: Sequence[Run]) -> Smokes:
    """What comes of each kind, and of the batch sizes with which an epoch ends with a single row."""
    smokes = [(run, _smoke(session, run)) for run in kinds]
    rows = max(answer.rows for _, answer in smokes)
    return [*smokes, *((run, _smoke(session, run)) for run in _alone(others, rows))]


def _alone(runs: Sequence[Run], rows: int) -> Iterator[Run]:
    sizes = {run.leaf["train"]["batch_size"]: run for run in reversed(runs)}
    return (sizes[size] for size in sorted(sizes) if rows > size > 1 == rows % size)


def _estimates(session: WorkerSession, runs: Sequence[Run], within: float = math.inf) -> Smokes:
    """What estimates of the largest runs' memory find, as far as they are made `within` this many seconds."""
    end = time.monotonic() + within
    found: Smokes = []
    for run in heaviest(runs):
        with suppress(WorkerGone):  # training a real batch says more
            answer = session.ask(Smoke(run.config, run.seed, estimated=True), end - time.monotonic())
            assert isinstance(answer, Smoked)
            found.append((run, answer))
        if time.monotonic() >= end:
            break
    return found


def _smoke(session: WorkerSession, run: Run) -> Smoked:
    try:
        answer = session.ask(Smoke(run.config, run.seed))
    except WorkerGone as gone:
        return Smoked((Finding(0, (), "E431", "a trial batch failed", f"its worker {gone}"),))
    assert isinstance(answer, Smoked)
    return answer


def _smoked(file: ExperimentFile, samples: Sequence[Run], smokes: Smokes) -> tuple[Problem, ...]:
    """The failures, each cause once with its first run, and the warnings about the other runs."""
    failures: dict[tuple[str, ...], Problem] = {}
    for run, answer in smokes:
        for finding in answer.findings:
            problem = located(file, [run], finding)
            of_run = replace(problem, message=f"run {run.number}: {problem.message}")
            failures.setdefault((finding.code, finding.found, *finding.path), of_run)
    passed = [(run, answer) for run, answer in smokes if not answer.findings]
    return (*failures.values(), *_unread(file, passed), *_oversized(file, samples, passed))


def _oversized(file: ExperimentFile, samples: Sequence[Run], smokes: Smokes) -> Iterator[Problem]:
    """The warnings about batch sizes above the number of rows."""
    rows = max((answer.rows for _, answer in smokes), default=0)
    sizes = {run.leaf["train"]["batch_size"]: run for run in reversed(samples)}
    for size in sorted(sizes) if rows else ():
        if size > rows:
            message = f"batch_size is {size}, but the train split has only {rows} rows"
            span = origin(file, sizes[size], ("train", "batch_size"))
            yield Problem("W431", message, span, severity=Severity.WARNING)


def _unread(file: ExperimentFile, smokes: Smokes) -> Iterator[Problem]:
    """The warnings about user knobs that are set but never read."""
    read = {knob for _, answer in smokes for knob in answer.read}
    sought = {knob for _, answer in smokes for knob in answer.sought}
    first = {knob: run for run, answer in reversed(smokes) for knob in answer.unread if knob not in read}
    for knob, run in sorted(first.items(), key=lambda pair: pair[0]):
        hint = did_you_mean(knob[-1], [name for *above, name in sought if tuple(above) == knob[:-1]])
        message = f"`{'.'.join(knob)}` is set but never read"
        yield Problem("W430", message, key_of(file, run, knob), hint=hint, severity=Severity.WARNING)
