"""`clone`: train copies of runs with changed knobs, from scratch or from their weights."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rapidfire_cli.app.control.cloning import Cloning
from rapidfire_cli.app.control.selection import Selection, selected
from rapidfire_cli.app.control.steering_verb import Options, steered
from rapidfire_cli.app.experiments import LoadedExperiment, mlspec_of
from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.probing import problems, question
from rapidfire_cli.app.verbs.check import interview, probed
from rapidfire_cli.durable import disk
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.representatives import representatives, shape
from rapidfire_cli.problems import Refusal
from rapidfire_cli.requests import CloneRun
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.view.audience import waiting


def _check(file: ExperimentFile, home: ExperimentDir) -> None:
    """Have a worker look at the only run of the file. Raises Refusal with all that it found, Unavailable."""
    runs = tuple(expand(file))
    asked, samples = question(representatives(runs))
    with TemporaryDirectory() as place:
        loaded = LoadedExperiment(file, mlspec_of(file, home.file), runs, ExperimentDir(Path(place)))
        disk.make_directory(loaded.home.misc)
        with waiting("checking the clone", sys.stderr, os.environ), interview(loaded) as session:
            if found := problems(file, samples, probed(session, loaded, asked)):
                raise Refusal(found)


def clone(selection: Selection, ask: CloneRun, options: Options) -> int:
    """Clone the runs as `ask` says and print the answers; return the exit code.

    Raises Refusal, located in the changes, before anything is asked for.
    """
    seen = open_overview(options.experiment, options.parent, unlisted=True)
    runs, cloning = selected(selection, seen), Cloning(seen.home)
    known = [one.run for one in known_runs(seen.home.journal, 1)]
    shapes = {shape(run.config) for run in known}
    for run in [run for run in known if run.number in runs]:
        config = cloning.config(run, ask)
        if shape(config) not in shapes:  # a worker has not seen such a run yet
            _check(cloning.as_file(run, ask), seen.home)
            shapes.add(shape(config))
    return steered(seen, replace(ask, runs=runs), options)
