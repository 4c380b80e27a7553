"""TensorBoard: an event file per run, and the knobs of all runs for its HParams page.

Records are appended to one file per run and process. `EventFileWriter` would hold a file and a thread for
each run, of which there may be thousands. A process starts new files, so that a record which was cut off when
the disk was full does not hide what follows.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, assert_never

from rapidfire_cli.durable import disk
from rapidfire_cli.terms import LOSS, UNFINISHED, RunState, Value
from rapidfire_cli.view.trackers.tracker import Began, Changed, Kind, Measured, Note, Place, TrackedRun

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

NEEDS = ("tensorboard",)


class TensorBoard:
    """Writes event files below a directory."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._files: dict[str, Path] = {}  # by directory: `run-007`, or empty for the root

    def log(self, notes: Sequence[Note]) -> None:
        """Write the notes. Raises OSError."""
        if not (self._files or any(self._place.directory.glob("*tfevents*"))):
            self._write("", [_event(_experiment(self._place), notes[0].at)])
        events: dict[str, list[Event]] = {}
        for note in notes:
            events.setdefault(note.run.name, []).extend(_events(note, self._place))
        for name, each in events.items():
            self._write(name, each)

    def close(self) -> None:
        """Nothing is open between two batches."""

    def _write(self, name: str, events: Sequence["Event"]) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        records = RecordWriter(buffer := io.BytesIO())
        path = self._files.get(name)
        if path is None:
            path = self._new(self._place.directory / name)
            records.write(_opening(events[0].wall_time).SerializeToString())
        for event in events:
            records.write(event.SerializeToString())
        disk.add(path, buffer.getvalue())
        self._files[name] = path

    def _new(self, directory: Path) -> Path:
        """The next file there; TensorBoard reads them in the order of their names."""
        disk.make_directory(directory, lasting=False)
        place = 1 + len([*directory.glob("*tfevents*")])
        return directory / f"events.out.tfevents.{place:010d}.rapidfire"


def opened(place: Place) -> TensorBoard:
    """Log to event files in the place's directory."""
    return TensorBoard(place)


def where(place: Place) -> str:
    """The command that shows them."""
    return f"tensorboard --logdir {quote(str(place.directory))}"


def _events(note: Note, place: Place) -> Iterator["Event"]:
    match note:
        case Began(run, at):
            yield _event(_session(run, at, place.knobs), at)
            yield _event(_text("run", run.facts), at)
            yield _event(_text("knobs", run.knobs), at)
        case Measured(_, at, epoch, step, values):
            yield _event(_scalars({**values, "epoch": epoch}), at, step)
        case Changed(_, at, state, cause, summary):
            shown: dict[str, Value] = {"state": str(state), **({"cause": cause} if cause else {}), **summary}
            yield _event(_text("state", shown), at)
            if state not in UNFINISHED:
                yield _event(_over(state, at), at)
        case _:
            assert_never(note)


def _opening(at: float) -> "Event":
    """What every event file begins with."""
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=at, file_version="brain.Event:2")


def _event(summary: "Summary", at: float, step: int = 0) -> "Event":
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=at, step=step, summary=summary)


def _scalars(values: Mapping[str, float]) -> "Summary":
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])


def _text(tag: str, facts: Mapping[str, Value]) -> "Summary":
    """A Markdown table on the page of texts."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.text.metadata import create_summary_metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    cells = [f"| {name} | {_cell(value)} |" for name, value in facts.items()]
    tensor = make_tensor_proto("\n".join(["| | |", "|-|-|", *cells]), dtype="string")
    metadata = create_summary_metadata(tag, "")
    return Summary(value=[Summary.Value(tag=f"{tag}/text_summary", metadata=metadata, tensor=tensor)])


def _cell(value: Value) -> str:
    return "null" if value is None else str(value).replace("|", r"\|").replace("\n", " ")


def _experiment(place: Place) -> "Summary":
    """All knobs, and the metrics that the HParams page shows."""
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams.metadata import EXPERIMENT_TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    kinds = {
        bool: api_pb2.DATA_TYPE_BOOL,
        float: api_pb2.DATA_TYPE_FLOAT64,
        str: api_pb2.DATA_TYPE_STRING,
    }
    metrics = dict.fromkeys((place.objective, f"val/{LOSS}", f"train/{LOSS}"))
    experiment = api_pb2.Experiment(
        name=place.metadata.experiment,
        hparam_infos=[api_pb2.HParamInfo(name=path, type=kinds[kind]) for path, kind in place.knobs.items()],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in metrics],
    )
    return _hparams(EXPERIMENT_TAG, HParamsPluginData(experiment=experiment))


def _session(run: TrackedRun, at: float, kinds: Mapping[str, Kind]) -> "Summary":
    """The run's knobs, of the kinds that the page expects; it shows a knob that is null as missing."""
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    known = {path: value for path, value in run.knobs.items() if value is not None}
    values = {path: str(value) if kinds.get(path) is str else value for path, value in known.items()}
    return hparams_pb(values, trial_id=run.name, start_time_secs=at)


def _over(state: RunState, at: float) -> "Summary":
    """That the run is over."""
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    status = api_pb2.STATUS_FAILURE if state is RunState.FAILED else api_pb2.STATUS_SUCCESS
    ending = SessionEndInfo(status=status, end_time_secs=at)
    return _hparams(SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=ending))


def _hparams(tag: str, data: "HParamsPluginData") -> "Summary":
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.metadata import NULL_TENSOR, create_summary_metadata

    value = Summary.Value(tag=tag, metadata=create_summary_metadata(data), tensor=NULL_TENSOR)
    return Summary(value=[value])
