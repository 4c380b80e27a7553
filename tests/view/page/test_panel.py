"""What the notebook's panel says and answers, on real journals; scenarios have a real notebook."""

import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

pytest.importorskip("anywidget", reason="anywidget is not installed: pip install -e '.[dev]'")

from rapidfire_cli.app import page
from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.durable.lock import lock
from rapidfire_cli.experiment import Experiment
from rapidfire_cli.facts import RunChanged
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.requests_taken import requests_taken
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.page import panel as panels
from rapidfire_cli.view.page.experiment import ADDRESSES
from tests.store.sweep import enrolled, epoch
from tests.view.page.pages import experiment, visitor
from tests.view.page.wire import TIMEOUT, View, viewed


@pytest.fixture
def home(tmp_path) -> ExperimentDir:
    return experiment(tmp_path)


@pytest.fixture
def view(monkeypatch, home) -> Iterator[Callable[..., View]]:
    """Makes a panel of the experiment, and looks at it."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(viewed(monkeypatch, home, **options))
    until(lambda: not following())


def following() -> bool:
    return any(each.name == "rapidfire panel" for each in threading.enumerate())


def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_view_is_told_everything_with_the_objectives_curves_then_what_changes(home, view):
    journal = enrolled(home.journal)
    with lock(home.lock, "test"):
        seen = view()
        seen.say(client="ada", follow=True)
        whole, buffers = seen.next("snapshot")
        assert whole["data"]["runs"]["number"] == [1, 2, 3] and not buffers
        journal.record([epoch(2, 1, 0.5)])
        change, [series] = seen.next("delta")
        assert change["data"]["runs"]["number"] == [2]
        assert change["series"] == ("validation", "top1_accuracy")
        assert struct.unpack("<6If", series) == (1, 1, 2, 1, 1, 20, 0.5)
        journal.record([epoch(2, 2, 0.75)])
        change, buffers = seen.next("delta")
        assert change["data"]["points"][-1][5] == 0.75 and not buffers  # the view has the first point
        journal.close()
    ended, [series] = seen.next("snapshot")
    assert ended["data"]["state"] == "interrupted" and len(series) == 40


def test_it_is_followed_as_long_as_somebody_looks(home, view):
    enrolled(home.journal).close()
    seen = view()
    assert not following()
    for client in ("ada", "bob"):
        seen.say(client=client, follow=True)
        seen.next("snapshot")  # each time, as the new view has nothing
    seen.say(client="ada", follow=False)
    time.sleep(3 * panels.LOOK)
    assert following()
    seen.say(client="bob", follow=False)
    until(lambda: not following())
    seen.say(client="ada", follow=True)
    seen.next("snapshot")


def test_a_cell_that_shows_it_is_told_again_and_again_until_a_view_is_heard(home, view, monkeypatch):
    monkeypatch.setattr(panels, "AGAIN", (0.1,) * 50)
    enrolled(home.journal).record([epoch(1, 1, 0.5)])
    seen = view()
    shown, _ = seen.panel._repr_mimebundle_()
    assert shown["text/plain"] == "<panel of digits; run the cell to see it>"
    for _ in range(3):
        whole, [series] = seen.next("snapshot")
        assert whole["series"] == ("validation", "top1_accuracy") and series
    seen.say(client="ada", follow=True)
    for expected in (True, False):  # what was under way, then nothing
        time.sleep(4 * panels.LOOK)
        assert expected or not seen.waiting()
        while seen.waiting():
            seen.next("snapshot")


def test_it_lives_as_long_as_it_beats(home, view, monkeypatch):
    monkeypatch.setattr(panels, "BEAT", 0.1)
    seen = view()
    seen.say(client="ada", follow=True)
    assert seen.next("empty")[0]["data"] == {}  # nothing was trained yet
    seen.next("beat")
    enrolled(home.journal).close()
    seen.next("snapshot")


def test_every_address_of_the_page_has_the_same_answer(home, view):
    journal = enrolled(home.journal)
    journal.record([epoch(2, 1, 0.5), RunChanged(2, RunState.COMPLETED)])
    journal.close()
    seen, browser = view(), visitor(home)
    for address in (*ADDRESSES, "runs/9", "nothing", "../series", "runs/" + "1" * 5000):
        asked = address.replace("{number}", "2") + "?split=validation&metric=top1_accuracy"
        answer, buffers = seen.ask(address=asked)
        found = browser.get(f"/api/{asked}")
        assert answer["status"] == found.status_code, asked
        if buffers:
            assert buffers == [found.content]
        elif address in ("nothing", "../series"):
            assert answer["found"]["error"] == "nothing is at this address"
        elif address != "experiments":  # a panel stays with its own
            assert answer["found"] == found.json(), asked


def test_a_request_is_carried_out_and_recorded_as_one_of_the_notebook(home, view):
    enrolled(home.journal).close()
    home.file.write_text("config: {}\n")
    seen = view()
    dry, _ = seen.ask(ask={"verb": "stop", "runs": [1], "dry_run": True})
    assert dry["found"]["answers"][0]["text"] == "stopped" and not requests_taken(home.journal)
    answer, _ = seen.ask(ask={"verb": "stop", "runs": [1]})
    assert [each["outcome"] for each in answer["found"]["answers"]] == ["applied"]
    [taken] = requests_taken(home.journal)
    assert taken.taken.request.source == "notebook"
    for wrong in ({"verb": "explode"}, {"verb": "stop", "runs": ["1"]}, {"verb": "stop"}, {}):
        answer, _ = seen.ask(ask=wrong)
        assert answer["status"] == 400 and answer["found"]["error"]
    assert len(requests_taken(home.journal)) == 1


def test_a_read_only_panel_refuses_requests_whatever_the_front_end_says(home, view):
    enrolled(home.journal).close()
    seen = view(read_only=True)
    seen.panel.comm.handle_msg(
        {"content": {"data": {"method": "update", "state": {"read_only": False}}}, "buffers": []}
    )
    answer, _ = seen.ask(ask={"verb": "stop", "runs": [1]})
    assert answer["status"] == 403 and "read-only" in answer["found"]["error"]
    assert not requests_taken(home.journal)


def test_what_is_no_message_is_ignored_and_a_bug_is_an_answer(home, view, monkeypatch):
    enrolled(home.journal).close()
    seen = view()
    for junk in (
        {},
        {"client": 1, "follow": True},
        {"client": "ada", "follow": 1},
        {"id": 1, "address": "x"},
    ):
        seen.say(**junk)
    monkeypatch.setattr("rapidfire_cli.view.page.experiment.packed_times", lambda _: 1 / 0)
    answer, _ = seen.ask(address="times")
    assert answer["status"] == 500 and "division by zero" in answer["found"]["error"]
    assert not following() or seen.ask(address="rungs")[0]["status"] == 200


def test_an_experiment_has_a_panel_before_and_after_it_trains(home, tmp_path, monkeypatch, view):
    view()  # with a comm
    panel = Experiment("none:None", name="digits", dir=tmp_path).panel(read_only=True)
    assert panel.read_only and "digits" in repr(panel)
    panel.close()


def test_what_is_missing_is_one_line_that_says_how_to_get_it(home, monkeypatch):
    monkeypatch.setattr(page, "panel_script", lambda: None)
    with pytest.raises(Unavailable, match="make web"):
        page.panel_of(home, False, ())
    monkeypatch.setattr(page, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"^`panel\(\)` needs .* pip install 'rapidfire-cli\[notebook\]'$"):
        page.panel_of(home, False, ())
