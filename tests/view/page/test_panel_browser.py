"""The panel's program in a real browser, run as notebooks do (https://anywidget.dev/en/afm/), without one."""

import base64
import queue
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("anywidget", reason="anywidget is not installed: pip install -e '.[dev]'")
pytest.importorskip("playwright")

from playwright.sync_api import expect

from rapidfire_cli.app import page as app
from rapidfire_cli.facts import RunChanged, RunFailed
from rapidfire_cli.store.requests_taken import requests_taken
from rapidfire_cli.terms import RunState
from tests.view.page.built import browser as installed
from tests.view.page.built import page_bundle
from tests.view.page.pages import experiment
from tests.view.page.served import AXE, Tab, chromium
from tests.view.page.sweeps import ended, enrol, runs_of
from tests.view.page.wire import View, viewed

MARKUP = '<img src=x onerror="window.hacked = 1"><script>window.hacked = 1</script>'
NOTEBOOK = "<!doctype html><html lang=en><title>notebook</title><body><main></main>"
SHOW = """\
async ([name, script, readOnly]) => {
  const module = await import(URL.createObjectURL(new Blob([script], {type: "text/javascript"})));
  const widget = await module.default();
  const heard = new Set();
  const model = {
    get: () => readOnly,
    send: (content) => { window.said(name, content) },
    on: (_, hears) => heard.add(hears),
    off: (_, hears) => heard.delete(hears),
  };
  const el = document.createElement("div");
  el.id = name;
  document.querySelector("main").append(el);
  widget.initialize({model});
  const hide = widget.render({model, el});
  const bytes = (text) => new DataView(Uint8Array.from(atob(text), (each) => each.charCodeAt(0)).buffer);
  window.panels = {...window.panels, [name]: {
    hide, tell: (content, buffers) => heard.forEach((hears) => hears(content, buffers.map(bytes))),
  }};
}
"""


class Notebook:
    """A page with panels, and the kernel that answers them."""

    def __init__(self, tab: Tab) -> None:
        self.page, self.violations = tab.page, tab.violations
        self._views: dict[str, View] = {}
        self.page.set_content(NOTEBOOK)
        self.page.expose_function("said", lambda name, content: self._views[name].say(**content))

    def show(self, name: str, view: View) -> Any:
        self._views[name] = view
        script = app.panel_script()
        self.page.evaluate(SHOW, [name, script, view.panel.read_only])
        return self.page.locator(f"#{name}")

    def wait_for(self, *found: Any) -> None:
        """Carry messages until all of these are seen."""
        for _ in range(200):
            if all(each.is_visible() for each in found):
                return
            for name, view in self._views.items():
                self._carry(name, view)
            self.page.wait_for_timeout(50)
        raise AssertionError([each for each in found if not each.is_visible()])

    def _carry(self, name: str, view: View) -> None:
        while True:
            try:
                content, buffers = view.sent.get_nowait()
            except queue.Empty:
                return
            texts = [base64.b64encode(each).decode() for each in buffers]
            self.page.evaluate("([name, ...told]) => panels[name].tell(...told)", [name, content, texts])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    installed(), page_bundle()
    with chromium() as found:
        yield found


@pytest.fixture
def notebook(browser) -> Iterator[Notebook]:
    tab = Tab(browser)
    yield Notebook(tab)
    assert tab.wrong == [] and tab.page.evaluate("window.hacked") is None
    tab.context.close()


@pytest.fixture
def home(tmp_path):
    """A sweep whose name and error are markup."""
    home, runs = experiment(tmp_path), runs_of(3, 2)
    journal = enrol(home, runs, 2, name=MARKUP)
    journal.record([ended(1, runs[0].leaf, 1), ended(2, runs[1].leaf, 1), RunChanged(1, RunState.RUNNING)])
    journal.record([RunFailed(2, "error", MARKUP, 3), RunChanged(2, RunState.FAILED, MARKUP)])
    journal.close()
    home.file.write_text("config: {}\n")
    return home


def test_panels_have_a_state_of_their_own_and_show_names_and_errors_as_text(notebook, home, monkeypatch):
    with viewed(monkeypatch, home) as one, viewed(monkeypatch, home, read_only=True) as two:
        first, second = notebook.show("first", one), notebook.show("second", two)
        notebook.wait_for(first.locator(".canvas canvas"), second.locator(".canvas canvas"))
        assert first.locator("h1").inner_text() == MARKUP
        first.get_by_label("open run 2").click()
        notebook.wait_for(first.locator(".drawer .failure"), first.locator(".why"))
        assert MARKUP in first.locator(".drawer .failure").inner_text()
        assert second.locator(".drawer, .actions").count() == 0
        first.locator("#filter").fill("run == 3")
        expect(first.locator(".table-bar .count").first).to_have_text("1 of 3 runs")
        expect(second.locator(".table-bar .count").first).to_have_text("3 runs")


def test_a_request_goes_by_the_keyboard_alone_while_the_panel_has_it(notebook, home, monkeypatch):
    with viewed(monkeypatch, home) as view:
        panel = notebook.show("panel", view)
        notebook.wait_for(panel.locator(".canvas canvas"))
        press = notebook.page.keyboard.press
        press("j")
        assert panel.locator("tr.cursor").count() == 0  # the notebook's own key
        panel.locator("header").click()
        for key in ("j", "d"):
            press(key)
        notebook.wait_for(panel.locator("dialog >> text=They move to the trash"))
        assert not AXE.is_file() or notebook.violations() == []
        press("Enter")
        notebook.wait_for(panel.locator(".notices >> text=deleted"))
    [taken] = requests_taken(home.journal)
    assert (taken.taken.request.source, taken.taken.request.ask.runs) == ("notebook", (1,))


def test_a_kernel_that_is_gone_is_told_and_a_view_that_is_closed_is_not_followed(notebook, home, monkeypatch):
    page = notebook.page
    page.clock.install()
    with viewed(monkeypatch, home) as view:
        panel = notebook.show("panel", view)
        page.clock.run_for(17_000)  # nobody carries the messages
        expect(panel.locator("h1")).to_have_text("The kernel does not answer")
        notebook.wait_for(panel.locator(".runs"))
        page.clock.run_for(17_000)
        expect(panel.locator(".connection")).to_have_text("kernel gone: trying again")
        page.evaluate("panels.panel.hide()")
        assert panel.locator("*").count() == 0
        page.wait_for_timeout(100)
    assert view.panel._clients == set()
