"""`fit --debug-run N`: one run in the foreground, for `breakpoint()`; the experiment is not changed."""

import os
import sys
import traceback
from bdb import BdbQuit
from pathlib import Path
from tempfile import TemporaryDirectory

from rapidfire_cli.app.admission import assignment
from rapidfire_cli.app.devices import DeviceRequest, seats, setup
from rapidfire_cli.app.experiments import LoadedExperiment
from rapidfire_cli.app.probing import located, preparation
from rapidfire_cli.durable import disk
from rapidfire_cli.engine.local.backend import worker_environment
from rapidfire_cli.engine.messages import Finding
from rapidfire_cli.engine.ports import Slot
from rapidfire_cli.manifest.numbering import number
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.search.proposing import continued
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.terms import Run, gang_size
from rapidfire_cli.view.lines import Lines

STARTED = "RAPIDFIRE_DEBUG_THREADS"
"""Set in the environment once that is a worker's, which must be so before Python starts."""


def debug(loaded: LoadedExperiment, wanted: int, devices: DeviceRequest) -> int:
    """Train the run with this number in this process, in a directory that is deleted; the exit code."""
    run = _run(loaded, wanted)
    (slot, *_), threads = seats(loaded.file, devices)
    if STARTED not in os.environ:
        _start_again(slot, threads)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # a debugger needs the terminal itself
    with TemporaryDirectory(prefix="rapidfire-") as place:
        home = ExperimentDir(Path(place))
        disk.make_directory(home.misc)
        size = gang_size(run.leaf)
        where = "in this process" if size == 1 else f"in this process, on one device instead of {size}"
        print(f"run {run.number} trains {where}; the experiment is not changed", file=sys.stderr)
        try:
            if finding := _train(loaded, run, home, slot):
                raise Refusal([located(loaded.file, [run], finding)])
        except BdbQuit:
            return 1
        except (Refusal, KeyboardInterrupt):
            raise
        except BaseException:
            traceback.print_exc()
            return 1
    return 0


def _train(loaded: LoadedExperiment, run: Run, home: ExperimentDir, slot: Slot) -> Finding | None:
    from rapidfire_cli.training.foreground import train_here

    sys.path += [place for place in loaded.path if place not in sys.path]
    there = LoadedExperiment(loaded.file, loaded.mlspec, loaded.runs, home, loaded.path)
    epochs: int = run.leaf["train"]["epochs"]
    lines = Lines(sys.stderr, {run.number: epochs}, loaded.file.execution.chunks)
    return train_here(
        setup(there, slot, int(os.environ[STARTED])),
        assignment(home, run),
        preparation(loaded.runs, loaded.file.seed),
        lambda ended: lines.tell([ended]),
    )


def _run(loaded: LoadedExperiment, wanted: int) -> Run:
    """The run by its lasting number, as `status` shows it. Raises Refusal.

    Runs that begin with the weights of others cannot be debugged: they need a checkpoint.
    """
    known = [one.run for one in known_runs(loaded.home.journal, loaded.file.execution.chunks)]
    listed = [*number(loaded.runs, known).listed, *continued(loaded.file, known)]
    for run in listed:
        if run.number == wanted:
            return run
    numbers = [run.number for run in listed]
    expected = f"a number from {min(numbers)} to {max(numbers)}"
    born = [run for run in known if run.number == wanted]
    message = f"run {wanted} cannot be debugged" if born else f"run {wanted} does not exist"
    found = "a run that was made of another one" if born else str(wanted)
    raise Refusal([Problem("E515", message, found=found, expected=expected)])


def _start_again(slot: Slot, threads: int) -> None:
    """Restart this command in the environment of a worker."""
    sys.stdout.flush()
    sys.stderr.flush()
    environment = {**os.environ, **worker_environment(slot, threads, os.environ), STARTED: str(threads)}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
