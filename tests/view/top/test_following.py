"""An app survives what becomes of the experiment that it shows."""

import math
import shutil
import time
from itertools import count

from rapidfire_cli.durable.lock import lock
from rapidfire_cli.facts import RunAdmitted, RunChanged, WorkerStarted
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.terms import Clone, Run, RunState
from rapidfire_cli.view.pace import LONGEST, SAVED
from rapidfire_cli.view.top import app as app_of_top
from tests.store.sweep import METADATA, config, epoch, runs
from tests.view.top.screens import HOME, kept, seen, shown, swept, until, visit


def test_a_run_is_interrupted_once_its_controller_is_gone():
    home = ExperimentDir(HOME)
    journal = kept(home.path)
    holding = lock(home.lock, "process 1")
    holding.__enter__()
    journal.record([RunChanged(1, RunState.RUNNING)])

    async def story(app, pilot):
        assert "● running" in shown(app)[0] and "○ running" in shown(app)[3]
        app._due = math.inf  # as if showing took long
        holding.__exit__(None, None, None)
        await until(pilot, lambda: "■ interrupted" in shown(app)[0] and "■ interrupted" in shown(app)[3])

    visit(home.path, story)


def test_the_app_rests_after_a_picture_for_all_that_it_did_since_the_one_before(monkeypatch):
    home = ExperimentDir(HOME)
    journal = kept(home.path)
    journal.record([RunChanged(1, RunState.RUNNING)])
    monkeypatch.setattr(app_of_top, "process_time", count(0.0, SAVED).__next__)  # spent from look to look

    async def story(app, pilot):
        with lock(home.lock, "process 1"):
            await until(pilot, lambda: "● running" in shown(app)[0])
            journal.record([epoch(1, 1, 0.5)])
            await until(pilot, lambda: app._due > time.monotonic() + LONGEST / 2)

    visit(home.path, story)


def test_an_experiment_that_is_removed_stays_on_the_screen_and_one_in_its_place_is_shown():
    swept(HOME).close()

    async def story(app, pilot):
        shutil.rmtree(HOME)
        await until(pilot, lambda: "journal.db is missing" in seen(app))
        assert "6 completed" in shown(app)[0]
        await pilot.press("2", "3", "4", "5", "1", "space", "o", "s")
        await until(pilot, lambda: "$ rapidfire stop" in seen(app) and "is missing" in seen(app))
        assert not HOME.exists(), "a request creates nothing"
        kept(HOME, count=2).close()
        await until(pilot, lambda: "2 queued" in shown(app)[0])
        assert "missing" not in seen(app)

    visit(HOME, story)


def test_a_damaged_journal_is_told_and_the_repaired_one_is_read():
    swept(HOME).close()
    path = HOME / "journal.db"
    good = path.read_bytes()

    async def story(app, pilot):
        path.unlink()
        path.write_bytes(good[:100] + b"\xff" * (len(good) - 100))
        await until(pilot, lambda: "journal.db is damaged" in seen(app) and "rapidfire repair" in seen(app))
        path.unlink()
        path.write_bytes(good)
        app._following._rest = 1  # do not wait ten seconds
        await until(pilot, lambda: "damaged" not in seen(app))
        assert "6 completed" in shown(app)[0]

    visit(HOME, story)


def test_a_run_that_is_born_during_the_fit_gets_a_row_and_its_origin():
    journal = kept(HOME, count=2)

    async def story(app, pilot):
        clone = Run(3, "f" * 16, 1, config(3).replace("0.01", "0.02"), 42, origin=Clone(1))
        journal.record([RunAdmitted(clone), epoch(3, 1, 0.5)])
        await until(pilot, lambda: "clone of 1" in seen(app))
        assert app.query_one("#runs").runs == [1, 2, 3]

    visit(HOME, story, size=(120, 24))


def test_the_runs_of_a_file_that_was_changed_are_shown_once_the_next_fit_begins():
    home = ExperimentDir(HOME)
    journal = kept(home.path, count=3)

    async def story(app, pilot):
        with lock(home.lock, "process 1"):
            await until(pilot, lambda: "running" in shown(app)[0])
            journal.enroll(METADATA, runs(5)[3:], [5, 5])
            journal.record([WorkerStarted(0, 1, "cpu")])
            await until(pilot, lambda: app.query_one("#runs").runs == [4, 5])

    visit(home.path, story)
