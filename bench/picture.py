"""Renew the pictures: the live table in the middle of a real fit of configs/digits.yaml, `top` after it."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

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
SIZE = 100, 30  # of the terminal in the picture of `top`
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


async def photograph_top(home: ExperimentDir) -> None:
    """Keep what the terminal app shows of the experiment: the best runs first, and the curves of four."""
    app = Top(Following(home), desk(home))
    async with app.run_test(size=SIZE) as pilot:
        while not app.query_one(RunTable).runs:
            await pilot.pause(0.1)
        await pilot.press(*"oooo", "home", *["space"] * 4, "home")
        await pilot.pause(1.0)
        TOP.write_text(app.export_screenshot(title="rapidfire top"), encoding="utf-8")


def main() -> None:
    """Train the digits experiment in a directory of its own."""
    os.chdir(ROOT)
    sys.path.insert(0, "")
    with tempfile.TemporaryDirectory() as parent, stop_signal() as stop:
        loaded = load_experiment(Given(Path("configs/digits.yaml")), parent)
        train(loaded, Request(), stop, photographed)
        asyncio.run(photograph_top(loaded.home))


if __name__ == "__main__":
    main()
