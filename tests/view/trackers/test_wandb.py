"""What was logged to Weights & Biases, read from its files with its own messages."""

import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rapidfire_cli.terms import RunState
from rapidfire_cli.view.trackers.tracker import Began, Changed, Place
from rapidfire_cli.view.trackers.wandb import WandB
from tests.store.sweep import METADATA
from tests.view.trackers.examples import measured, run

pytest.importorskip("wandb", reason="needs pip install 'rapidfire-cli[wandb]'")

BLOCK, HEADER = 32768, 7  # of LevelDB's log format, in which W&B keeps its records
CURVES = [measured(7, 1, 2.0), measured(7, 2, 1.0)]
OVER = Changed(run(7), 1.7e9 + 9, RunState.COMPLETED, "", {"best/epoch": 2, "best/val/loss": 0.5})


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path, METADATA, {}, lambda number: CURVES)


def chunks(data: bytes) -> Iterator[bytes]:
    """The records of a log: each in one piece (type 1) or in a first, middle and last one (2, 3, 4)."""
    at, parts = 7, b""  # after the file's own header
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):
            yield parts
            parts = b""


def read(file: Path) -> tuple[dict, list[dict], dict]:
    """The config, the history and the summary in a file of W&B's."""
    from wandb.proto.wandb_internal_pb2 import Record

    config, history, summary = {}, [], {}
    for data in chunks(file.read_bytes()):
        record = Record.FromString(data)
        for update in (*record.run.config.update, *record.config.update):
            config[update.key or ".".join(update.nested_key)] = json.loads(update.value_json)
        if record.history.item:
            items = {item.key or ".".join(item.nested_key): item.value_json for item in record.history.item}
            history.append({key: json.loads(value) for key, value in items.items()})
        for update in (*record.run.summary.update, *record.summary.update):
            summary[update.key or ".".join(update.nested_key)] = json.loads(update.value_json)
    return config, history, summary


def files(place: Place) -> list[Path]:
    return sorted(place.directory.glob("wandb/offline-run-*/*.wandb"), key=lambda file: len(file.name))


def test_offline_a_run_is_written_as_a_whole_when_it_is_over(place):
    tracker = WandB(place, "offline", streams=False)
    tracker.log([Began(run(7), 1.7e9), Changed(run(7), 1.7e9, RunState.RUNNING, "", {}), CURVES[0]])
    assert files(place) == []
    tracker.log([CURVES[1], OVER])
    tracker.close()
    [file] = files(place)
    config, history, summary = read(file)
    assert config["train.optimizer.args.lr"] == 0.1
    assert config["rapidfire.seed"] == 42
    assert [(line["epoch"], line["step"]) for line in history] == [(1, 20), (2, 40)]
    assert [line["train/loss"] for line in history] == [2.0, 1.0]
    assert (summary["state"], summary["best/val/loss"]) == ("completed", 0.5)


def test_offline_a_run_that_is_over_a_second_time_has_files_of_its_own(place):
    for _ in range(2):
        tracker = WandB(place, "offline", streams=False)
        tracker.log([OVER])
        tracker.close()
    assert [file.name for file in files(place)] == [f"run-{7:016x}.wandb", f"run-{7:016x}-2.wandb"]


def test_values_are_logged_as_they_come_where_they_can_be(place):
    tracker = WandB(place, "offline", streams=True)
    tracker.log([Began(run(7), 1.7e9), CURVES[0]])
    tracker.log([CURVES[1], OVER, Began(run(8), 1.7e9), measured(8, 1, 3.0)])
    tracker.close()
    first, second = [read(file) for file in sorted(files(place), key=lambda file: file.name)]
    assert [line["train/loss"] for line in first[1]] == [2.0, 1.0]
    assert first[2]["state"] == "completed"
    assert [line["train/loss"] for line in second[1]] == [3.0]


def test_values_inside_an_epoch_come_before_those_of_its_end_and_each_is_logged_once(tmp_path):
    inside = replace(CURVES[0], values={"so_far/loss": 3.0})
    tracker = WandB(Place(tmp_path, METADATA, {}, lambda number: [inside]), "offline", streams=True)
    tracker.log([Began(run(7), 1.7e9), inside, inside, CURVES[0], CURVES[0]])
    tracker.close()
    [file] = tmp_path.glob("wandb/offline-run-*/*.wandb")
    _, history, _ = read(file)
    assert [line.get("so_far/loss", line.get("train/loss")) for line in history] == [3.0, 2.0]
