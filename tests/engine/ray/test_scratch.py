"""A node's own directory: what workers report and print leaves it, and it goes with its steward."""

import base64
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rapidfire_cli.durable import publication
from rapidfire_cli.engine.messages import Assignment, Evict, Probed, Train, encode
from rapidfire_cli.engine.ray.copies import PREPARED
from rapidfire_cli.engine.ray.scratch import AT_ONCE, PLACE, Scratch
from rapidfire_cli.engine.ray.wire import Stored
from rapidfire_cli.facts import EpochEnded, Evicted, Fact, Saved, TurnEnded
from tests.engine.local.test_backend import SETUP

TRAIN = Train((Assignment(7, "{}", 42, "rapidfire_experiments/tiny/runs/7-abc"),), 1)
TREE = "runs/7-abc"


@pytest.fixture
def scratch(tmp_path, monkeypatch) -> Scratch:
    monkeypatch.setenv(PLACE, str(tmp_path))
    return Scratch()


def published(scratch: Scratch, name: str = "step-0000000001-epoch-000001") -> None:
    target = scratch.store.base(TREE) / name
    publication.publish(target, {"model.safetensors": lambda path: path.write_bytes(b"weights")}, {})


def noticed(scratch: Scratch, report: Fact | Probed) -> Stored | None:
    return scratch.notice(1, encode(report))


def test_workers_train_below_the_directory_that_the_steward_gives_them(scratch):
    home = scratch.store.home
    setup = scratch.settle(1, replace(SETUP, misc="rapidfire_experiments/tiny/misc"))
    assert [setup.misc, setup.prepared] == [str(home / "misc"), str(home / PREPARED)]
    placed = scratch.placed(1, TRAIN)
    assert placed == replace(TRAIN, runs=(replace(TRAIN.runs[0], directory=str(home / TREE)),))
    assert (home / TREE).is_dir()
    assert scratch.placed(1, Evict(7)) == Evict(7)


def test_what_was_saved_is_fetched_before_it_is_believed(scratch):
    scratch.placed(1, TRAIN)
    published(scratch)
    assert noticed(scratch, Saved(7, 1, 1)) == Stored(1, 7, TREE)
    assert noticed(scratch, EpochEnded(7, 1, 1, (), 1.0)) is None


@pytest.mark.parametrize("report", [TurnEnded(7, 0, 1, 1), Evicted(7, 1)])
def test_other_reports_wait_only_for_what_was_not_fetched(scratch, report):
    scratch.placed(1, TRAIN)
    assert noticed(scratch, report) is None
    published(scratch)
    assert noticed(scratch, report) == Stored(1, 7, TREE)
    scratch.is_known(TREE)
    assert noticed(scratch, report) is None
    (scratch.store.base(TREE) / "final.safetensors").write_bytes(b"weights")
    assert noticed(scratch, report) == Stored(1, 7, TREE)


@pytest.mark.parametrize("prepares", [True, False])
def test_prepared_files_are_fetched_before_the_answer_is_believed(scratch, prepares):
    assert noticed(scratch, Probed((), prepares=prepares)) == (Stored(1, 0, PREPARED) if prepares else None)


def printed(scratch: Scratch) -> dict[str, bytes]:
    return {each.path: base64.b64decode(each.data) for each in scratch.printed()}


def test_what_workers_print_is_sent_once(scratch):
    scratch.settle(1, SETUP)
    scratch.placed(1, TRAIN)
    log = scratch.store.home / TREE / "log.txt"
    assert printed(scratch) == {}
    with log.open("wb", buffering=0) as file:
        file.write(b"one\n")
        assert printed(scratch) == {f"{TREE}/log.txt": b"one\n"}
        file.write(b"two\n")
        assert printed(scratch) == {f"{TREE}/log.txt": b"two\n"}
        file.write(b"x" * (AT_ONCE + 1))
        assert [len(printed(scratch)[f"{TREE}/log.txt"]) for _ in range(2)] == [AT_ONCE, 1]
    log.write_bytes(b"anew\n")  # it was rotated
    assert printed(scratch) == {f"{TREE}/log.txt": b"anew\n"}
    scratch.placed(1, replace(TRAIN, runs=(replace(TRAIN.runs[0], run=8, directory="runs/8-def"),)))
    assert printed(scratch) == {}
    scratch.placed(1, TRAIN)  # again, later
    assert printed(scratch) == {}


STEWARD = """
import json, os, sys
from rapidfire_cli.engine.ray.scratch import Scratch
scratch = Scratch()
print(json.dumps([os.getpid(), str(scratch.path)]), flush=True)
sys.stdin.read()
"""


def steward(place: Path) -> "tuple[subprocess.Popen[str], Path]":
    process = subprocess.Popen(
        [sys.executable, "-c", STEWARD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, PLACE: str(place)},
    )
    assert process.stdout
    _, path = json.loads(process.stdout.readline())
    return process, Path(path)


def test_the_directory_goes_when_its_steward_is_killed_and_not_before(tmp_path):
    process, path = steward(tmp_path)
    another, stays = steward(tmp_path)
    assert path.is_dir()
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert stays.is_dir()
    another.communicate("")


def test_what_a_machine_that_was_switched_off_has_left_goes_with_the_next_steward(tmp_path):
    (left := tmp_path / "rapidfire-node-left").mkdir()
    (left / "lock").touch()
    (tmp_path / "rapidfire-node-another").mkdir()  # as one that is being made
    process, _ = steward(tmp_path)
    assert not left.exists() and (tmp_path / "rapidfire-node-another").exists()
    process.communicate("")
