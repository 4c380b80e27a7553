"""A tracker that fails logs everything in the end, and one process at a time logs to it."""

import threading
import time
from collections.abc import Callable

import pytest

from rapidfire_cli.app.tracking import follow
from rapidfire_cli.app.tracking.beside import left_behind
from rapidfire_cli.app.tracking.follow import Follower, behind, progress
from rapidfire_cli.durable.lock import Held
from rapidfire_cli.facts import RunChanged
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.terms import RunState, Tracker
from rapidfire_cli.view.trackers.tracker import Measured
from tests.store.sweep import enrolled, epoch

NAME = Tracker.TENSORBOARD


class Recorder:
    """A tracker that raises `failures` times before it logs anything."""

    def __init__(self, failures: int = 0):
        self.failures, self.notes, self.opened, self.closed = failures, [], 0, 0

    def open(self, place):
        self.opened += 1
        return self

    def log(self, notes):
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no https://ann:pw@host")
        self.notes += notes

    def close(self):
        self.closed += 1

    @property
    def epochs(self):
        return [note.epoch for note in self.notes if isinstance(note, Measured)]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(follow, "PAUSE", 0.01)
    monkeypatch.setattr(follow, "POLL", 0.01)
    journal = enrolled(tmp_path / "journal.db")
    journal.record([RunChanged(1, RunState.RUNNING), epoch(1, 1, 0.5), epoch(1, 2, 0.6)])
    journal.close()
    return ExperimentDir(tmp_path)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def caught_up(home: ExperimentDir, tracker: Recorder) -> bool:
    follower = Follower(home, NAME, tracker.open)
    follower.end()
    return follower.follow()


def test_a_tracker_logs_everything_once(home):
    first, second = Recorder(), Recorder()
    assert caught_up(home, first)
    assert (first.epochs, first.opened, first.closed) == ([1, 2], 1, 1)
    assert caught_up(home, second)
    assert (second.notes, second.opened) == ([], 0)
    assert [*left_behind(home, [NAME])] == []


def test_a_tracker_that_raises_gets_the_same_notes_again(home):
    tracker = Recorder(failures=2)
    assert caught_up(home, tracker)
    assert tracker.epochs == [1, 2]
    assert progress(home, NAME).error == ""


def test_a_tracker_that_keeps_raising_is_left_behind_and_catches_up_later(home):
    assert not caught_up(home, Recorder(failures=99))
    assert behind(home, NAME) == 3
    [line] = left_behind(home, [NAME])
    assert line.startswith(
        "tensorboard is 3 events behind (ConnectionError: no https://<redacted>@host); `rapidfire track"
    )
    later = Recorder()
    assert caught_up(home, later)
    assert later.epochs == [1, 2]


def test_a_follower_waits_for_news_until_its_end(home):
    tracker = Recorder()
    follower = Follower(home, NAME, tracker.open)
    thread = threading.Thread(target=follower.follow)
    thread.start()
    journal = enrolled(home.journal)
    try:
        wait_until(lambda: tracker.epochs == [1, 2])
        journal.record([epoch(1, 3, 0.7)])
        wait_until(lambda: tracker.epochs == [1, 2, 3])
    finally:
        journal.close()
        follower.end()
        thread.join(20)
    assert not thread.is_alive()


def test_only_one_process_logs_to_a_tracker(home):
    follower = Follower(home, NAME, Recorder().open)
    thread = threading.Thread(target=follower.follow)
    thread.start()
    try:
        wait_until((follower.directory / "cursor.json").exists)
        with pytest.raises(Held):
            caught_up(home, Recorder())
    finally:
        follower.end()
        thread.join(20)


def test_a_cursor_that_cannot_be_read_is_the_beginning(home):
    assert caught_up(home, Recorder())
    (home.trackers / NAME / "cursor.json").write_text("[1")
    again = Recorder()
    assert caught_up(home, again)
    assert again.epochs == [1, 2]
