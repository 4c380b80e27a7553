"""Workers that share a directory for the user's files do not make the same file at once."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from rapidfire_cli.training.shared_files import SharedFiles
from rapidfire_cli.training.tracked_config import TrackedConfig


def look_then_make(misc, leaf, made, together=None):
    """What `initialize_run` does of a spec that trains a tokenizer where there is none."""
    reads = {}
    if together:
        together.wait()
    with misc.initializing(leaf, reads):
        size = TrackedConfig(leaf, reads)["size"]
        if not (file := misc.path / f"words-{size}").exists():
            time.sleep(0.05)
            made.append(size)
            file.touch()


def test_what_workers_would_make_at_once_is_made_once(tmp_path):
    made, together = [], Barrier(4)
    with ThreadPoolExecutor(4) as workers:
        for _ in range(4):
            workers.submit(look_then_make, SharedFiles(tmp_path), {"size": 1}, made, together)

    assert made == [1]


def test_runs_wait_until_one_that_reads_the_same_has_made_nothing(tmp_path):
    here, there = SharedFiles(tmp_path), SharedFiles(tmp_path)
    made = []
    look_then_make(here, {"size": 1}, made)
    look_then_make(here, {"size": 1}, made)

    with there.initializing({"size": 3}, {}):  # else this would never end
        look_then_make(here, {"size": 1, "other": 2}, made)
    assert made == [1]


def test_a_run_that_fails_lets_the_others_in(tmp_path):
    with pytest.raises(ValueError), SharedFiles(tmp_path).initializing({}, {}):
        raise ValueError
    look_then_make(SharedFiles(tmp_path), {"size": 1}, made := [])

    assert made == [1]


def test_the_workers_logs_are_not_what_it_makes(tmp_path):
    misc = SharedFiles(tmp_path)
    with misc.initializing({}, {}):
        (tmp_path / "worker-3.log").write_text("said meanwhile")

    with SharedFiles(tmp_path).initializing({}, {}), misc.initializing({}, {}):
        pass


def test_a_directory_that_is_not_there_keeps_nobody(tmp_path):
    look_in = SharedFiles(tmp_path / "none")
    with look_in.initializing({}, {}), SharedFiles(tmp_path / "none").initializing({}, {}):
        assert not look_in.path.exists()
