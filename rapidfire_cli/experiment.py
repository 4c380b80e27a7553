"""Experiment: train from a script or a notebook, as `rapidfire fit` does, and load what was trained."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from rapidfire_cli.app.admission import assignment
from rapidfire_cli.app.control.background import BackgroundFit
from rapidfire_cli.app.devices import DeviceRequest
from rapidfire_cli.app.errors import say
from rapidfire_cli.app.experiments import MOST_RUNS, LoadedExperiment, check_size, home_of
from rapidfire_cli.app.streams import lags, settle, unblocked
from rapidfire_cli.app.trained import Asked, choose, prepared, problem, tell_changes
from rapidfire_cli.app.verbs.fit import Request, train
from rapidfire_cli.automl import PYTHON, experiment_file
from rapidfire_cli.durable.lock import is_held
from rapidfire_cli.engine.ports import Audience
from rapidfire_cli.engine.signals import StopSignal, stop_signal
from rapidfire_cli.facts import reading
from rapidfire_cli.manifest.counting import planned
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.knob_paths import dotted, knobs
from rapidfire_cli.mlspec import Cfg, MLSpec
from rapidfire_cli.problems import Problem, Refusal, Span
from rapidfire_cli.store.layout import ExperimentDir, parent_directory
from rapidfire_cli.store.queries import Overview, RunRow, overview
from rapidfire_cli.store.ranking import known_metrics, ranking, unknown
from rapidfire_cli.store.series import points
from rapidfire_cli.store.source import Source
from rapidfire_cli.terms import DEFAULT_SEED, Epoch, Objective, RunState
from rapidfire_cli.view.audience import watching
from rapidfire_cli.view.board import Board
from rapidfire_cli.view.documents import point_document

if TYPE_CHECKING:
    from torch import nn

    from rapidfire_cli.view.page.panel import Panel

Replace = Callable[[str], None]
"""Puts HTML in the place of what a notebook's cell showed before."""


@dataclass(frozen=True, slots=True)
class Results:
    """The results of an experiment after training."""

    experiment: str
    directory: Path
    state: RunState  # completed, failed, interrupted or stopped
    objective: Objective
    runs: tuple[RunRow, ...]  # best first

    @property
    def best(self) -> RunRow:
        """The best run by the objective, at the epoch that it names: by default the last finished one."""
        return self.runs[0]

    def records(self) -> list[dict[str, Any]]:
        """A flat dict per run, best first: facts, metrics as `validation.loss`, knobs by their path."""
        return [_record(row) for row in self.runs]

    def history(self, metric: str | None = None) -> list[dict[str, Any]]:
        """Whole curves of one metric, or of all: a flat dict per run, epoch and metric, in this order.

        Where epochs are trained in chunks, also training's values inside epochs, with `ended` false. Values
        may be NaN. Raises Refusal if no run has such a metric.
        """
        known = known_metrics(self.runs)
        if metric and (problem := unknown(metric, known)):
            raise Refusal([problem])
        numbers, measured = [row.number for row in self.runs], reading(known, metric) if metric else None
        found = points(ExperimentDir(self.directory).journal, numbers, measured, inside=True)
        return [{**point_document(point), "value": point.value} for point in found]


class Experiment:
    """A named experiment: an MLSpec, and the data it loads.

    `mlspec` is a class that other processes can import, or its path `module:Class`; `dir` holds experiments.
    """

    def __init__(
        self,
        mlspec: type[MLSpec] | str,
        data: Mapping[str, Any] | None = None,
        name: str | None = None,
        dir: str | Path | None = None,
    ) -> None:
        """Raises Refusal when workers cannot import the class."""
        self.mlspec = mlspec if isinstance(mlspec, str) else importable(mlspec)
        self.data = data
        self.name = name or self.mlspec.rpartition(":")[2]
        self._source = Source(name or self.mlspec, given=name is not None)
        self.dir = dir or os.environ.get("RAPIDFIRE_DIR")

    @overload
    def run_fit(
        self,
        ml_config: Any,
        seed: int = DEFAULT_SEED,
        objective: Mapping[str, Any] | None = None,
        execution: Mapping[str, Any] | None = None,
        background: Literal[False] = False,
        trackers: Sequence[str] | None = None,
    ) -> Results: ...

    @overload
    def run_fit(
        self,
        ml_config: Any,
        seed: int = DEFAULT_SEED,
        objective: Mapping[str, Any] | None = None,
        execution: Mapping[str, Any] | None = None,
        *,
        background: Literal[True],
        trackers: Sequence[str] | None = None,
    ) -> BackgroundFit[Results]: ...

    def run_fit(
        self,
        ml_config: Any,
        seed: int = DEFAULT_SEED,
        objective: Mapping[str, Any] | None = None,
        execution: Mapping[str, Any] | None = None,
        background: bool = False,
        trackers: Sequence[str] | None = None,
    ) -> Results | BackgroundFit[Results]:
        """Train every run of `ml_config` that is not trained yet; a run that fails raises nothing.

        `objective`, `execution` and `trackers` are what they are in a file. Raises Refusal with everything
        that is wrong before anything is trained; a signal that stops training is raised once nothing can be
        lost.

        With `background`, training goes on in a thread, and the handle that is returned steers it.
        """
        loaded = self._subject(ml_config, seed, objective, execution, trackers)
        if background:
            watch, home = _watch(_cell()), loaded.home
            return BackgroundFit(
                home,
                lambda stop: results(train(loaded, Request(), stop, watch)),
                lambda: results(overview(home.journal, is_held(home.lock))),
                loaded.path,
            )
        with stop_signal() as stop:
            seen = train(loaded, Request(), stop, _watch(_cell()))
        _raise(stop)
        return results(seen)

    def panel(self, read_only: bool = False) -> "Panel":
        """The experiment's page as a widget for a notebook's cell: before, while and after it trains.

        Raises Unavailable without the extra [notebook].
        """
        from rapidfire_cli.app.page import panel_of

        home = ExperimentDir(parent_directory(str(self.dir) if self.dir else None) / self.name)
        return panel_of(home, read_only, _search_path())

    def _subject(
        self,
        ml_config: Any,
        seed: int,
        objective: Mapping[str, Any] | None,
        execution: Mapping[str, Any] | None,
        trackers: Sequence[str] | None,
    ) -> LoadedExperiment:
        facts = {"experiment": self.name, "mlspec": self.mlspec, "data": self.data, "seed": seed}
        run = {"objective": objective, "execution": execution, "trackers": trackers}
        file = experiment_file(ml_config, **facts, **run)
        say(file.warnings)
        check_size(planned(file), MOST_RUNS, Span(PYTHON, 0, 0))
        home = home_of(file, str(self.dir) if self.dir else None)
        return LoadedExperiment(file, self.mlspec, tuple(expand(file)), home, _search_path(), self._source)


def load_run(
    experiment: str | Path,
    run: int | Literal["best"] = "best",
    *,
    at: Epoch = "last",
    dir: str | Path | None = None,
) -> "tuple[nn.Module, MLSpec, Cfg]":
    """Load a trained run: its model on the CPU, evaluating; its MLSpec, initialised; its leaf config.

    `experiment` is a name, a file or a directory, and `dir` holds experiments. The weights are those of the
    last finished epoch, or of the best one. Works during a fit. Raises Refusal if there is no such run, if it
    has not finished an epoch, or if its MLSpec cannot be imported; and what its methods raise.
    """
    from rapidfire_cli.training.failure import Failure
    from rapidfire_cli.training.spec import SpecProblem
    from rapidfire_cli.training.trained import Refused, reopened_here

    given = dir or os.environ.get("RAPIDFIRE_DIR")
    parent = str(parent_directory(str(given) if given else None).absolute())  # user code may go elsewhere
    chosen = choose(Asked(run, at, str(experiment), parent))
    _, first = prepared(chosen, DeviceRequest(gpus=0))
    home = chosen.seen.home
    try:
        trained, now = reopened_here(first, assignment(home, chosen.known.run), at)
    except (SpecProblem, Refused) as refused:
        raise Refusal([problem(refused.finding)]) from refused
    except Failure as failure:
        message = f"run {chosen.row.number} cannot be loaded"
        raise Refusal([Problem("E624", message, found=failure.cause)]) from failure
    tell_changes(chosen, now)
    return trained.model, trained.spec, trained.cfg


def importable(cls: type[MLSpec]) -> str:
    """The path `module:Class` by which workers import a class. Raises Refusal when they cannot."""
    if cls.__module__ == "__main__":
        where = "in a script or notebook"
    elif "." in cls.__qualname__:
        where = f"inside {cls.__qualname__.rpartition('.')[0].removesuffix('.<locals>')}"
    else:
        return f"{cls.__module__}:{cls.__qualname__}"
    raise Refusal([_unimportable(cls.__name__, where)])


def results(seen: Overview) -> Results:
    """Read the results of the experiment after a fit."""
    ranked = ranking(seen.rows, seen.objective)
    rows = tuple(row for place in ranked for row in place.rows)
    return Results(seen.metadata.experiment, seen.home.path, seen.state, seen.objective, rows)


def _search_path() -> tuple[str, ...]:
    """Where modules are found here."""
    return tuple(os.path.abspath(place) for place in sys.path)  # noqa: PTH100 - resolves no links


def _unimportable(name: str, where: str) -> Problem:
    return Problem(
        "E521",
        f"workers cannot import {name}",
        found=f"a class defined {where}",
        expected="a class at the top of a module",
        hint="move it to a file such as specs.py (a notebook has `%%writefile specs.py`), "
        f"then `from specs import {name}`",
    )


def _record(row: RunRow) -> dict[str, Any]:
    facts: dict[str, Any] = {"run": row.number, "id": row.id, "state": str(row.state), "epoch": row.epoch}
    facts |= {"seed": row.seed, "replicate": row.replicate}
    best = {"best.epoch": row.best.epoch, "best.value": row.best.value} if row.best else {}
    metrics = {
        f"{split}.{name}": value for split, named in row.metrics.items() for name, value in named.items()
    }
    own = {dotted(path): value for path, value in knobs(dict(row.config))}
    return {**facts, "error": row.error or None, **metrics, **best, **own}


def _watch(cell: Replace | None) -> Callable[[Board], AbstractContextManager[Audience]]:
    if cell is None:
        return _watched
    from rapidfire_cli.view.live import in_notebook

    return lambda board: in_notebook(board, cell)


@contextmanager
def _watched(board: Board) -> Iterator[Audience]:
    """Watch training; outside of notebooks, on a stderr that does not wait for its reader."""
    stream = unblocked(sys.stderr)
    try:
        with watching(board, None, stream, os.environ, lags) as audience:
            yield audience
    finally:
        settle(stream)


def _cell() -> Replace | None:
    """A function that replaces the output of the current notebook cell; None outside of notebooks."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if not hasattr(shell, "kernel"):
        return None
    display = import_module("IPython.display")
    shown = display.display(display.HTML("<pre>starting workers …</pre>"), display_id=True)
    return lambda text: shown.update(display.HTML(text))


def _raise(stop: StopSignal) -> None:
    """Raise the exception that belongs to the signal."""
    if stop.number == signal.SIGINT:
        raise KeyboardInterrupt("training was interrupted; call run_fit again to continue")
    if stop.number is not None:
        raise SystemExit(128 + stop.number)
