"""The panel in a real notebook: JupyterLab in a headless browser, a kernel that trains in the background."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import expect

from rapidfire_cli.app.control.asking import new_request, send
from rapidfire_cli.requests import Stop
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.requests_taken import requests_taken
from tests.processes.left_out import PATHS
from tests.view.page.built import browser as installed
from tests.view.page.built import missing, page_bundle
from tests.view.page.served import Tab, chromium

CELLS = ".jp-Notebook .jp-CodeCell"
TRAIN = """\
from rapidfire_cli import Experiment, GridSearch, List
from tests.scenarios.specs import Tiny

experiment = Experiment(Tiny, name="tiny")
config = {
    "user_knobs": {"pause": 0.02},
    "train": {
        "epochs": 3000,
        "batch_size": 64,
        "optimizer": {"name": "Adam", "args": {"lr": List([0.01, 0.001])}},
    },
}
fit = experiment.run_fit(GridSearch(config), execution={"workers": 1}, background=True)
fit.panel()
"""
LOOK = "experiment.panel(read_only=True)"
WAIT = "print('it has', fit.wait().state)"
STARTED = 60.0  # seconds that a server may take
PATIENCE = 90_000  # milliseconds, on a machine that does other work


def notebook(*cells: str) -> str:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    found = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "source": cell,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
        for number, cell in enumerate(cells)
    ]
    return json.dumps({"cells": found, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


class Lab:
    """A JupyterLab whose notebooks and experiments are in a directory of their own."""

    def __init__(self, place: Path, url: str, token: str) -> None:
        self.place, self._url, self._token = place, url, token

    def opened(self, page: Any, *cells: str) -> None:
        """Open a notebook of these cells, with a kernel."""
        (self.place / "notebook.ipynb").write_text(notebook(*cells))
        page.goto(f"{self._url}lab/tree/notebook.ipynb?token={self._token}")
        page.wait_for_selector(CELLS)
        page.wait_for_function(
            "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
        )

    @property
    def home(self) -> ExperimentDir:
        return ExperimentDir(self.place / "rapidfire_experiments" / "tiny")


def command(page: Any, name: str, **arguments: str) -> None:
    page.evaluate("([name, given]) => { window.jupyterapp.commands.execute(name, given) }", [name, arguments])


def run(page: Any, number: int) -> Any:
    """Run the cell, without waiting; the place of its output."""
    page.evaluate("number => { jupyterapp.shell.currentWidget.content.activeCellIndex = number }", number)
    command(page, "notebook:run-cell")
    return page.locator(f"{CELLS} >> nth={number}").locator(".jp-OutputArea")


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[Lab]:
    if not all(map(find_spec, ("anywidget", "jupyterlab", "ipykernel"))):
        missing("JupyterLab or anywidget is not installed: pip install -e '.[dev]'")
    page_bundle()
    place, own = tmp_path_factory.mktemp("notebook"), tmp_path_factory.mktemp("jupyter")
    directories = {
        name: str(own / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    options = {
        "ServerApp.port": 0,
        "ServerApp.root_dir": place,
        "LabApp.expose_app_in_browser": True,
        "LabApp.news_url": None,
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    with (own / "log.txt").open("w") as log:
        server = subprocess.Popen(
            [*command, *(f"--{name}={value}" for name, value in options.items())],
            cwd=place,
            env={**os.environ, **directories, "PYTHONPATH": PATHS},
            stdout=log,
            stderr=log,
        )
    try:
        about = own / "jupyter_runtime_dir" / f"jpserver-{server.pid}.json"
        until = time.monotonic() + STARTED
        while not (about.is_file() and about.read_text()):
            assert time.monotonic() < until and server.poll() is None, (own / "log.txt").read_text()
            time.sleep(0.1)
        found = json.loads(about.read_text())
        yield Lab(place, found["url"], found["token"])
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def tab() -> Iterator[Tab]:
    installed()
    with chromium() as browser:
        tab = Tab(browser)
        tab.page.set_default_timeout(PATIENCE)
        yield tab


def epoch(panel: Any, run: int) -> int:
    """How many epochs the run has, as the panel's table says."""
    text: str = panel.locator(f"tr:has([aria-label='open run {run}']) .progress").inner_text()
    return int(text.partition("/")[0])


def assert_it_follows(panel: Any, run: int) -> None:
    expect(panel.locator(".canvas canvas")).to_be_visible(timeout=PATIENCE)
    before = epoch(panel, run)
    until = time.monotonic() + PATIENCE / 1000
    while epoch(panel, run) <= before:
        assert time.monotonic() < until, "the panel stands still"
        panel.page.wait_for_timeout(100)


@pytest.mark.campaign
def test_a_panel_follows_a_fit_in_the_background_and_steers_it(lab, tab):
    page = tab.page
    lab.opened(page, TRAIN, LOOK, WAIT)
    first = run(page, 0)
    expect(first.locator(".pill.running")).to_be_visible(timeout=PATIENCE)
    assert_it_follows(first, 1)

    first.get_by_label("select run 1").check()
    page.keyboard.press("x")  # would cut the cell if the notebook heard it
    page.keyboard.press("s")
    page.click("dialog button.primary")
    expect(first.locator(".runs .state.stopped")).to_have_text("stopped", timeout=PATIENCE)
    [taken] = requests_taken(lab.home.journal)
    assert (taken.taken.request.source, taken.taken.request.ask) == ("notebook", Stop((1,)))

    second, third = run(page, 1), run(page, 2)  # which keeps the kernel busy
    assert_it_follows(second, 2)
    assert second.locator(".actions").count() == 0
    assert_it_follows(first, 2)
    command(page, "apputils:change-theme", theme="JupyterLab Dark")
    expect(first.locator("[data-lm-suppress-shortcuts]")).to_have_class("dark")

    send(lab.home, new_request(Stop((2,)), "cli"))
    expect(third).to_contain_text("it has stopped", timeout=PATIENCE)
    for panel in (first, second):
        expect(panel.locator(".pill.stopped")).to_be_visible(timeout=PATIENCE)
    assert page.locator(CELLS).count() == 3
    assert tab.wrong == []
