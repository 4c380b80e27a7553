"""A fit and the process beside it that logs to trackers."""

import sys
import time

import pytest

from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.tracking import beside
from rapidfire_cli.app.tracking.beside import checked_trackers, log_rest, logged
from rapidfire_cli.app.tracking.follow import Follower
from rapidfire_cli.facts import RunChanged
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.terms import RunState, Tracker
from rapidfire_cli.view.trackers import registry
from tests.store.sweep import enrolled, epoch

NAME = Tracker.TENSORBOARD


@pytest.fixture
def home(tmp_path):
    journal = enrolled(tmp_path / "journal.db")
    journal.record([RunChanged(1, RunState.RUNNING), epoch(1, 1, 0.5)])
    journal.close()
    return ExperimentDir(tmp_path)


def process(monkeypatch, program: str) -> None:
    monkeypatch.setattr(beside, "COMMAND", (sys.executable, "-c", program))


def test_a_process_that_hangs_is_left_behind(home, monkeypatch, capsys):
    process(
        monkeypatch, "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    )
    monkeypatch.setattr(beside, "DRAIN", 0.2)
    before = time.monotonic()
    with logged(home, [NAME]):
        pass
    assert time.monotonic() - before < 30
    assert "tensorboard is 2 events behind; `rapidfire track" in capsys.readouterr().err


def test_a_process_that_dies_costs_training_nothing(home, monkeypatch, capsys):
    process(monkeypatch, "raise SystemExit('no')")
    with logged(home, [NAME]):
        pass
    assert "2 events behind" in capsys.readouterr().err
    assert (home.trackers / "log").read_text() == "no\n"


def test_what_training_raises_is_raised(home, monkeypatch):
    process(monkeypatch, "import sys; sys.stdin.read()")
    with pytest.raises(ZeroDivisionError), logged(home, [NAME]):
        raise ZeroDivisionError


def test_a_missing_package_is_one_line_that_names_the_extra(monkeypatch):
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(Unavailable) as missing:
        checked_trackers([NAME])
    assert f"{missing.value}" == (
        "the tracker tensorboard needs the package tensorboard: pip install 'rapidfire-cli[tensorboard]'"
    )


def test_without_trackers_no_process_is_started(home, monkeypatch):
    process(monkeypatch, "raise SystemExit('no')")
    with logged(home, []):
        pass
    assert not home.trackers.exists()


def test_the_rest_is_logged_only_if_there_is_one(home, monkeypatch, capsys):
    process(monkeypatch, "print('started')")
    log_rest(home, [NAME])
    assert (home.trackers / "log").read_text() == "started\n"
    assert "tensorboard is 2 events behind" in capsys.readouterr().err
    follower = Follower(home, NAME)
    follower.end()
    assert follower.follow()
    log_rest(home, [NAME])
    assert (home.trackers / "log").read_text() == "started\n"
    assert capsys.readouterr().err == ""


def test_a_log_that_cannot_be_opened_is_a_warning(home, capsys):
    (home.trackers / "log").mkdir(parents=True)
    with logged(home, [NAME]):
        pass
    assert capsys.readouterr().err.startswith("warning: nothing is logged to tensorboard: ")
