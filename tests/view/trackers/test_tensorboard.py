"""What was logged to TensorBoard, read by TensorBoard."""

import math

import pytest

from rapidfire_cli.terms import RunState
from rapidfire_cli.view.trackers.tensorboard import TensorBoard
from rapidfire_cli.view.trackers.tracker import Began, Changed, Place
from tests.store.sweep import METADATA
from tests.view.trackers.examples import measured, run

KINDS = {
    "train.batch_size": float,
    "train.optimizer.args.lr": float,
    "user_knobs.deep": bool,
    "user_knobs.warmup": float,
}


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path, METADATA, KINDS, lambda run: ())


@pytest.fixture
def read(tmp_path):
    """What TensorBoard reads of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(name: str) -> EventAccumulator:
        return EventAccumulator(str(tmp_path / name)).Reload()

    return read


def test_curves_are_logged_by_step_with_their_times(place, read):
    TensorBoard(place).log([Began(run(7), 1.7e9), measured(7, 1, 2.0), measured(7, 2, math.nan)])
    found = read("run-007")
    first, second = found.Scalars("train/loss")
    assert (first.step, first.value, first.wall_time) == (20, 2.0, 1.7e9 + 1)
    assert (second.step, math.isnan(second.value)) == (40, True)
    assert [point.value for point in found.Scalars("epoch")] == [1, 2]


def test_a_process_that_continues_adds_to_the_curves(place, read):
    TensorBoard(place).log([Began(run(7), 1.7e9), measured(7, 1, 2.0)])
    later = TensorBoard(place)
    later.log([measured(7, 2, 1.0)])
    later.log([measured(7, 3, 0.5), Began(run(8), 1.7e9), measured(8, 1, 3.0)])
    assert [point.value for point in read("run-007").Scalars("train/loss")] == [2.0, 1.0, 0.5]
    assert [point.value for point in read("run-008").Scalars("val/loss")] == [1.5]


def test_a_record_that_was_cut_off_hides_nothing_that_follows(place, read):
    TensorBoard(place).log([measured(7, 1, 2.0), measured(7, 2, 1.0)])
    [file] = (place.directory / "run-007").iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    TensorBoard(place).log([measured(7, 2, 1.0), measured(7, 3, 0.5)])
    assert [point.step for point in read("run-007").Scalars("train/loss")] == [20, 40, 60]


def test_the_hparams_page_has_all_knobs_of_every_run(place, read):
    from tensorboard.plugins.hparams import plugin_data_pb2

    TensorBoard(place).log([Began(run(7), 1.7e9), Changed(run(7), 1.7e9 + 9, RunState.FAILED, "no", {})])

    def data(name: str, tag: str) -> plugin_data_pb2.HParamsPluginData:
        content = read(name).PluginTagToContent("hparams")[tag]
        return plugin_data_pb2.HParamsPluginData.FromString(content)

    experiment = data("", "_hparams_/experiment").experiment
    assert [info.name for info in experiment.hparam_infos] == [*KINDS]
    assert experiment.metric_infos[0].name.tag == "val/top1_accuracy"
    session = data("run-007", "_hparams_/session_start_info").session_start_info
    assert session.group_name == "run-007"
    assert session.hparams["train.batch_size"].number_value == 32
    assert session.hparams["user_knobs.deep"].bool_value is True
    assert "user_knobs.warmup" not in session.hparams
    assert data("run-007", "_hparams_/session_end_info").session_end_info.status == 2  # failure


def test_texts_say_what_a_run_is_and_how_it_ended(place, read):
    ended = Changed(run(7), 1.7e9 + 9, RunState.FAILED, "a | b", {"epoch": 2, "val/loss": 0.5})
    TensorBoard(place).log([Began(run(7), 1.7e9), ended])
    found = read("run-007")

    def text(tag: str) -> str:
        return found.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0].decode()

    assert f"| id | {7:016x} |" in text("run")
    assert "| train.batch_size | 32 |" in text("knobs")
    assert "| state | failed |" in text("state")
    assert r"| cause | a \| b |" in text("state")
    assert "| val/loss | 0.5 |" in text("state")
