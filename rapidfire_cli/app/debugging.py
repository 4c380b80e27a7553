"""`fit --debug-run N`: one run in the foreground, for `breakpoint()`; the experiment is not changed."""

import os
import sys
import traceback
from bdb import BdbQuit
from pathlib import Path
from tempfile import TemporaryDirectory

from rapidfire_cli.app.devices import Machinery, seats, setup
from rapidfire_cli.app.experiments import Subject
from rapidfire_cli.app.oom import assignment
from rapidfire_cli.app.probing import located, preparation
from rapidfire_cli.durable import disk
from rapidfire_cli.engine.messages import Finding
from rapidfire_cli.engine.ports import Slot
from rapidfire_cli.engine.workers import worker_environment
from rapidfire_cli.manifest.numbering import number
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.terms import Run
from rapidfire_cli.view.lines import Lines

STARTED = "RAPIDFIRE_DEBUG_THREADS"
"""Set in the environment once that is a worker's, which must be so before Python starts."""


def debug(subject: Subject, wanted: int, machinery: Machinery) -> int:
    """Train the run with this number in this process, in a directory that is deleted; the exit code."""
    run = _run(subject, wanted)
    (slot, *_), threads = seats(subject.file, machinery)
    if STARTED not in os.environ:
        _start_again(slot, threads)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # a debugger wants a terminal itself
    with TemporaryDirectory(prefix="rapidfire-") as place:
        home = ExperimentDir(Path(place))
        disk.make_directory(home.misc)
        print(f"run {run.number} trains in this process; the experiment is not changed", file=sys.stderr)
        try:
            if finding := _train(subject, run, home, slot):
                raise Refusal([located(subject.file, [run], finding)])
        except BdbQuit:
            return 1
        except (Refusal, KeyboardInterrupt):
            raise
        except BaseException:
            traceback.print_exc()
            return 1
    return 0


def _train(subject: Subject, run: Run, home: ExperimentDir, slot: Slot) -> Finding | None:
    from rapidfire_cli.training.foreground import train_here

    sys.path += [place for place in subject.path if place not in sys.path]
    there = Subject(subject.file, subject.mlspec, subject.runs, home, subject.path)
    epochs: int = run.leaf["train"]["epochs"]
    lines = Lines(sys.stderr, {run.number: epochs}, subject.file.execution.chunks)
    return train_here(
        setup(there, slot, int(os.environ[STARTED])),
        assignment(home, run),
        preparation(subject.runs, subject.file.seed),
        lambda ended: lines.tell([ended]),
    )


def _run(subject: Subject, wanted: int) -> Run:
    """The run by its lasting number, as `status` shows it. Raises Refusal."""
    known = known_runs(subject.home.journal, subject.file.execution.chunks)
    listed = number(subject.runs, [one.run for one in known]).listed
    for run in listed:
        if run.number == wanted:
            return run
    numbers = [run.number for run in listed]
    expected = f"a number from {min(numbers)} to {max(numbers)}"
    raise Refusal([Problem("E515", f"the file has no run {wanted}", found=str(wanted), expected=expected)])


def _start_again(slot: Slot, threads: int) -> None:
    """Start this very command anew in the environment that a worker has."""
    sys.stdout.flush()
    sys.stderr.flush()
    environment = {**os.environ, **worker_environment(slot, threads), STARTED: str(threads)}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
