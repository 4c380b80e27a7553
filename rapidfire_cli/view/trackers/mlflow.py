"""MLflow: an MLflow run for each run, in the experiment of the same name.

MLflow's servers keep to limits per request, and its SQLite store commits each request, so everything is
logged in batches. A run is found by the tag `rapidfire.id`, because MLflow chooses the ids of its runs.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from shlex import quote
from typing import TYPE_CHECKING, TypeVar, assert_never

from rapidfire_cli.terms import UNFINISHED, RunState, Value
from rapidfire_cli.view.trackers.secrets import without_credentials
from rapidfire_cli.view.trackers.tracker import Began, Changed, Measured, Note, Place, TrackedRun

if TYPE_CHECKING:
    from mlflow import MlflowClient

Item = TypeVar("Item")

NEEDS = ("mlflow", "sqlalchemy", "alembic")
SERVER = "MLFLOW_TRACKING_URI"
"""The environment variable that names a server; without it, a SQLite file is used."""

METRICS, PARAMS = 1000, 100  # in a request, at most (MLflow's limits)
LONGEST = 6000  # characters of a parameter's value (MLflow's limit)
ID = "rapidfire.id"
"""The tag with the id of the run."""

STATUS: Mapping[RunState, str] = {
    RunState.COMPLETED: "FINISHED",
    RunState.PRUNED: "FINISHED",
    RunState.FAILED: "FAILED",
    RunState.STOPPED: "KILLED",
    RunState.DELETED: "KILLED",
}
"""MLflow's words for the states of runs that are over."""

_NOT_ALLOWED = re.compile(r"[^\w\-. /:]")


class MLflow:
    """Logs to a server or a SQLite file."""

    def __init__(self, place: Place) -> None:
        """Raises what MLflow raises."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self._client = MlflowClient(address(place))
        self._runs: dict[int, str] = {}  # MLflow's ids, by number
        self._experiment = _experiment(self._client, place)

    def log(self, notes: Sequence[Note]) -> None:
        """Log the notes. Raises what MLflow raises."""
        measured: dict[int, list[Measured]] = {}
        changes: list[Changed] = []
        for note in notes:
            match note:
                case Began(run, at):
                    self._describe(self._id(run, at), run)
                case Measured(run):
                    measured.setdefault(run.number, []).append(note)
                case Changed():
                    changes.append(note)
                case _:
                    assert_never(note)
        for each in measured.values():
            self._measure(self._id(each[0].run, each[0].at), each)
        for change in changes:  # after the values, so that a run which is over is complete
            self._change(self._id(change.run, change.at), change)

    def close(self) -> None:
        """Nothing is open between two batches."""

    def _id(self, run: TrackedRun, at: float) -> str:
        """MLflow's id of the run, which is created if it is missing."""
        if run.number not in self._runs:
            found = self._client.search_runs([self._experiment], f"tags.`{ID}` = '{run.id}'", max_results=1)
            new = (self._experiment, _milliseconds(at), {ID: run.id}, run.name)
            self._runs[run.number] = (found[0] if found else self._client.create_run(*new)).info.run_id
        return self._runs[run.number]

    def _describe(self, id: str, run: TrackedRun) -> None:
        from mlflow.entities import Param, RunTag

        params = [Param(_key(path), _text(value)[:LONGEST]) for path, value in run.knobs.items()]
        for each in _parts(params, PARAMS):
            self._client.log_batch(id, params=each)
        facts = {name: value for name, value in run.facts.items() if value is not None}
        tags = [RunTag(f"rapidfire.{name}", _text(value)) for name, value in facts.items()]
        self._client.log_batch(id, tags=tags)

    def _measure(self, id: str, notes: Sequence[Measured]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(_key(tag), value, _milliseconds(note.at), note.step)
            for note in notes
            for tag, value in (*note.values.items(), ("epoch", note.epoch))
        ]
        for each in _parts(metrics, METRICS):
            self._client.log_batch(id, metrics=each)

    def _change(self, id: str, note: Changed) -> None:
        from mlflow.entities import RunTag

        shown = {"state": str(note.state), "cause": note.cause}
        shown |= {name: _text(value) for name, value in note.summary.items()}
        tags = [RunTag(f"rapidfire.{_key(name)}", text[:LONGEST]) for name, text in shown.items()]
        self._client.log_batch(id, tags=tags)
        if note.state in UNFINISHED:
            self._client.update_run(id, "RUNNING")
        else:
            self._client.set_terminated(id, STATUS[note.state], _milliseconds(note.at))


def opened(place: Place) -> MLflow:
    """Log to the server that the environment names, or to a file in the place's directory."""
    return MLflow(place)


def where(place: Place) -> str:
    """The command that shows it, or the address of the server that does."""
    shown = without_credentials(address(place))
    served = shown.startswith(("http://", "https://"))
    return shown if served else f"mlflow ui --backend-store-uri {quote(shown)}"


def address(place: Place) -> str:
    """Where MLflow keeps what is logged."""
    return os.environ.get(SERVER) or f"sqlite:///{place.directory.absolute() / 'mlflow.db'}"


def _experiment(client: "MlflowClient", place: Place) -> str:
    """MLflow's id of the experiment, which is created if it is missing."""
    name = place.metadata.experiment
    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    own = None if os.environ.get(SERVER) else (place.directory.absolute() / "artifacts").as_uri()
    return str(client.create_experiment(name, artifact_location=own))


def _milliseconds(at: float) -> int:
    return round(at * 1000)


def _key(path: str) -> str:
    """The path without characters that MLflow refuses."""
    return _NOT_ALLOWED.sub("_", path)


def _text(value: Value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _parts(items: Sequence[Item], most: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + most] for start in range(0, len(items), most))
