"""Renew the pictures: the live table in a real fit of configs/digits.yaml, `top` and `web` after it."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from playwright.sync_api import sync_playwright

from rapidfire_cli.app.experiments import load_experiment
from rapidfire_cli.app.files import Given
from rapidfire_cli.app.verbs.fit import Request, train
from rapidfire_cli.app.verbs.top import desk
from rapidfire_cli.engine.ports import Audience
from rapidfire_cli.engine.signals import stop_signal
from rapidfire_cli.facts import Fact
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.view.board import Board, fold
from rapidfire_cli.view.live import picture
from rapidfire_cli.view.top.app import Top
from rapidfire_cli.view.top.following import Following
from rapidfire_cli.view.top.table import RunTable

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "live.svg"
TOP = ROOT / "docs" / "top.svg"
WEB = ROOT / "docs" / "web.png"
SIZE = 100, 30  # of the terminal in the picture of `top`
PIXELS = {"width": 1280, "height": 760}  # of the browser's window
SHOWN = 0.6  # of the run-epochs are done in the picture


class Photographer:
    """An audience that keeps one picture."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._began = monotonic()
        self.taken = ""

    def tell(self, facts: Sequence[Fact]) -> None:
        """Take the picture when it is time."""
        elapsed = monotonic() - self._began
        for fact in facts:
            fold(self._board, fact, elapsed)
        lines = self._board.lines.values()
        done, whole = sum(line.epoch for line in lines), sum(line.epochs for line in lines)
        if not self.taken and done >= SHOWN * whole:
            self.taken = picture(self._board, elapsed)


@contextmanager
def photographed(board: Board) -> Iterator[Audience]:
    """Keep the picture once training is over."""
    photographer = Photographer(board)
    yield photographer
    PICTURE.write_text(photographer.taken, encoding="utf-8")


def photograph_web(parent: str) -> None:
    """Keep what a browser shows of the experiment."""
    command = [sys.executable, "-m", "rapidfire_cli", "web", "--dir", parent, "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as web, sync_playwright() as play:
        assert web.stdout
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=PIXELS, color_scheme="light")
        page.goto(web.stdout.readline().strip())
        page.get_by_text("completed").first.wait_for()
        page.wait_for_timeout(500)
        page.screenshot(path=WEB)
        browser.close()
        web.terminate()


async def photograph_top(home: ExperimentDir) -> None:
    """Keep what the terminal app shows of the experiment: the best runs first, and the curves of four.

    The picture loads no font from another host.
    """
    app = Top(Following(home), desk(home))
    async with app.run_test(size=SIZE) as pilot:
        while not app.query_one(RunTable).runs:
            await pilot.pause(0.1)
        await pilot.press(*"oooo", "home", *["space"] * 4, "home")
        await pilot.pause(1.0)
        drawn = app.export_screenshot(title="rapidfire top")
        TOP.write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL), encoding="utf-8")


def main() -> None:
    """Train the digits experiment in a directory of its own."""
    os.chdir(ROOT)
    sys.path.insert(0, "")
    with tempfile.TemporaryDirectory() as parent, stop_signal() as stop:
        loaded = load_experiment(Given(Path("configs/digits.yaml")), parent)
        train(loaded, Request(), stop, photographed)
        photograph_web(parent)
        asyncio.run(photograph_top(loaded.home))


if __name__ == "__main__":
    main()
