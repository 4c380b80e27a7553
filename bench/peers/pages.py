"""The pages of Optuna Dashboard and TensorBoard, on the runs of a sweep."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.series import packed

SPLIT, NAME = "validation", "top1_accuracy"


@dataclass(frozen=True, slots=True)
class Peer:
    """A page of another tool."""

    name: str
    write: Callable[
        [ExperimentDir, Path], None
    ]  # the sweep's curves into a directory, as the tool keeps them
    command: Callable[[Path, int], Sequence[str]]  # that serves them at a port
    path: str  # of the page with the curves
    drawn: str  # a script that is true once a curve is drawn


def curves(home: ExperimentDir) -> Iterator[tuple[dict[str, Any], Sequence[float]]]:
    """Each run's knobs and its values, epoch by epoch."""
    found = packed(home.journal, SPLIT, NAME)
    leaves = {one.run.number: one.run.leaf for one in known_runs(home.journal, 1)}
    at = 0
    for run, count in zip(found.runs, found.counts, strict=True):
        train, own = leaves[run]["train"], leaves[run]["user_knobs"]
        knobs = {"lr": train["optimizer"]["args"]["lr"], "batch_size": train["batch_size"], **own}
        yield knobs, found.values[at : at + count]
        at += count


def write_study(home: ExperimentDir, place: Path) -> None:
    """A study with a trial for each run."""
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    among: Mapping[str, Any] = {
        "lr": FloatDistribution(1e-5, 1.0, log=True),
        "batch_size": CategoricalDistribution((32, 64, 128)),
        "model": CategoricalDistribution(("mlp", "cnn", "vit")),
        "dropout": CategoricalDistribution((0.0, 0.1, 0.3)),
    }
    study = optuna.create_study(
        storage=f"sqlite:///{place}/study.db", study_name="sweep", direction="maximize"
    )
    study.add_trials(
        [
            optuna.trial.create_trial(
                params=knobs,
                distributions=dict(among),
                value=values[-1],
                intermediate_values=dict(enumerate(values, 1)),
            )
            for knobs, values in curves(home)
        ]
    )


def write_logs(home: ExperimentDir, place: Path) -> None:
    """A log directory with a run for each run."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for number, (_, values) in enumerate(curves(home), 1):
        writer = EventFileWriter(f"{place}/run-{number:05}")
        for epoch, value in enumerate(values, 1):
            said = Summary(value=[Summary.Value(tag=f"{SPLIT}/{NAME}", simple_value=value)])
            writer.add_event(Event(wall_time=1.7e9 + epoch, step=epoch, summary=said))
        writer.close()


def _script(name: str) -> str:
    """The tool's command beside this interpreter."""
    found = which(name, path=str(Path(sys.executable).parent)) or which(name)
    assert found, f"pip install '.[bench]' installs {name}"
    return found


def serve_study(place: Path, port: int) -> Sequence[str]:
    return (_script("optuna-dashboard"), f"sqlite:///{place}/study.db", "--port", f"{port}")


def serve_logs(place: Path, port: int) -> Sequence[str]:
    return (_script("tensorboard"), "--logdir", str(place), "--port", f"{port}", "--host", "127.0.0.1")


PEERS = (
    Peer(
        "Optuna Dashboard",
        write_study,
        serve_study,
        "/dashboard/studies/1",
        "!!document.querySelector('#graph-intermediate-values .scatterlayer .trace path.js-line')",
    ),
    Peer(
        "TensorBoard",
        write_logs,
        serve_logs,
        "/#timeseries",
        "['line-chart canvas', 'tb-data-table-content-cell'].every((each) => document.querySelector(each))",
    ),
)


@contextmanager
def serving(command: Sequence[str]) -> Iterator[Callable[[], str]]:
    """The tool's server while inside, and a function that returns the first line that it prints."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout
        try:
            yield lambda: server.stdout.readline().strip() if server.stdout else ""
        finally:
            server.terminate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port
