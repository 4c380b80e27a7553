"""Requests from the app have the effects of the commands, and are shown as these."""

from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import overview
from rapidfire_cli.store.requests_taken import requests_taken
from rapidfire_cli.view.top.keys import SECTIONS
from tests.view.top.screens import HOME, kept, seen, swept, until, visit


def states(home):
    return [str(row.state) for row in overview(ExperimentDir(home).journal, alive=False).rows]


def test_a_stop_is_shown_as_its_command_and_recorded_as_made_in_the_app():
    home = HOME
    kept(home, count=3).close()

    async def story(app, pilot):
        await pilot.press("space", "space", "s")
        await until(pilot, lambda: "run 2: stopped" in seen(app))
        assert "$ rapidfire stop 1-2 -e digits" in seen(app)
        assert "(no fit is running; the next one goes by this)" in seen(app)
        await until(pilot, lambda: "□ stopped" in seen(app))
        await pilot.press("u")
        await until(pilot, lambda: "run 2: resumed" in seen(app))

    visit(home, story)
    assert states(home) == ["queued"] * 3
    assert [each.taken.request.source for each in requests_taken(home / "journal.db")] == ["top", "top"]


def test_a_refusal_says_why():
    swept(HOME).close()

    async def story(app, pilot):
        await pilot.press("s")
        await until(pilot, lambda: "run 1: refused: already completed" in seen(app))

    visit(HOME, story)


def test_a_run_is_deleted_once_that_is_confirmed():
    home = HOME
    swept(home).close()

    async def story(app, pilot):
        await pilot.press("d")
        await until(pilot, lambda: "delete run 1?" in seen(app) and "rapidfire delete 1" in seen(app))
        await pilot.press("n")
        assert states(home)[0] == "completed"
        await pilot.press("d", "y")
        await until(pilot, lambda: "× deleted" in seen(app))
        await pilot.press("R")
        await until(pilot, lambda: "run 1: restored, completed" in seen(app))

    visit(home, story)
    assert states(home)[0] == "completed"


def test_the_form_of_a_clone_has_the_knobs_filled_in_and_shows_problems_as_a_file_does():
    home = HOME
    swept(home).close()

    async def story(app, pilot):
        await pilot.press("slash", *"run > 1", "enter", "c")
        await until(pilot, lambda: "clone run 2" in seen(app))
        await until(pilot, lambda: "train.batch_size" in seen(app) and "0.0001" in seen(app))
        await pilot.press("end", *"x", "enter")
        await until(pilot, lambda: "^^^" in seen(app) and "expected: " in seen(app))
        await pilot.press("backspace", "down", "5", "enter")
        await until(pilot, lambda: "$ rapidfire clone 2 --set train.optimizer.args.lr=0.00015" in seen(app))
        await until(pilot, lambda: app.query_one("#runs").runs == [2, 3, 4, 5, 6, 7])
        assert "run 2: cloned as run 7" in seen(app), "the filter does not hide the answer"

    visit(home, story)
    [clone] = [row for row in overview(home / "journal.db", alive=False).rows if row.origin]
    assert clone.config["train"]["optimizer"]["args"]["lr"] == 0.00015


def test_a_form_that_is_left_asks_for_nothing():
    home = HOME
    swept(home).close()

    async def story(app, pilot):
        await pilot.press("c", *"1", "escape", "q")

    visit(home, story)
    assert requests_taken(home / "journal.db") == ()


def test_who_may_only_read_is_offered_no_requests():
    home = HOME
    kept(home).close()

    async def story(app, pilot):
        await until(pilot, lambda: "quit" in seen(app))
        assert "stop" not in seen(app)
        await pilot.press("s", "d", "c", "u", "question_mark")
        await until(pilot, lambda: "leave the filter" in seen(app))
        assert "Requests" not in seen(app)

    visit(home, story, read_only=True)
    assert requests_taken(home / "journal.db") == ()


def test_the_help_lists_every_key():
    kept(HOME).close()

    async def story(app, pilot):
        await pilot.press("question_mark")
        await until(pilot, lambda: "stop now: kill the worker" in seen(app))
        for about in [key.about for _, keys in SECTIONS for key in keys]:
            assert about in seen(app)

    visit(HOME, story, size=(80, 50))
