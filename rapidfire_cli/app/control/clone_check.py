"""Look for the problems of clones before they are asked for, from wherever.

Clones have problems as files have them, and some that only a worker finds. One is started if the experiment
has no run of that shape yet, or if the clone begins with weights that its model may not take: if anything but
its training differs from the run that it is made of.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rapidfire_cli.app.control.cloning import Cloning
from rapidfire_cli.app.experiments import LoadedExperiment, mlspec_of
from rapidfire_cli.app.interviewing import interview, probed
from rapidfire_cli.app.probing import problems, question
from rapidfire_cli.durable import disk
from rapidfire_cli.engine.checkpoints import MODEL, weights_in
from rapidfire_cli.engine.messages import Beginning
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.representatives import representatives, shape
from rapidfire_cli.problems import Refusal
from rapidfire_cli.requests import CloneRun
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.terms import Run, canonical

During = Callable[[], AbstractContextManager[object]]


def check_clones(
    home: ExperimentDir, ask: CloneRun, path: tuple[str, ...] = (), during: During = nullcontext
) -> None:
    """Look at the clones of known runs that `ask` names; `during` is entered while a worker looks.

    `path` is where the MLSpec's module is looked up beside the working directory. Raises Refusal with all
    problems, located in the changes, and Unavailable when no worker can be started.
    """
    cloning, known = Cloning(home), [one.run for one in known_runs(home.journal, 1)]
    shapes = {shape(run.config) for run in known}
    for run in [run for run in known if run.number in ask.runs]:
        config = cloning.config(run, ask)
        begins = [*_beginning(cloning, run, ask, config)]
        if begins or shape(config) not in shapes:  # no worker has seen such a run yet
            with during():
                _look(cloning.as_file(run, ask), home, path, begins)
            shapes.add(shape(config))


def _beginning(cloning: Cloning, run: Run, ask: CloneRun, config: str) -> Iterator[Beginning]:
    """The weights that the clone begins with, if its model may not take them."""
    if ask.warm != "all" or _apart_from_training(config) == _apart_from_training(run.config):
        return
    try:
        weights = weights_in(cloning.source(run, ask).path, MODEL)
    except Refusal:  # the request itself is refused for that, or waits for the weights
        return
    if weights:
        yield Beginning(config, run.seed if ask.seed is None else ask.seed, str(weights.absolute()))


def _apart_from_training(config: str) -> str:
    leaf = Run(0, "", 1, config, 0).leaf
    del leaf["train"]
    return canonical(leaf)


def _look(file: ExperimentFile, home: ExperimentDir, path: tuple[str, ...], begins: list[Beginning]) -> None:
    """Have a worker look at the only run of the file. Raises Refusal with all that it found, Unavailable."""
    runs = tuple(expand(file))
    asked, samples = question(representatives(runs))
    with TemporaryDirectory() as place:
        here = ExperimentDir(Path(place))
        loaded = LoadedExperiment(file, mlspec_of(file, home.file), runs, here, path)
        disk.make_directory(here.misc)
        with interview(loaded) as session:
            answer = probed(session, loaded, replace(asked, beginnings=tuple(begins)))
    about = tuple(finding for finding in answer.findings if finding.leaf >= 0)  # not about the MLSpec itself
    if found := problems(file, samples, replace(answer, findings=about)):
        raise Refusal(found)
