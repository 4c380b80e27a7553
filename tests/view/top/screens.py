"""A terminal app without a terminal, on the journal of a small sweep, and what its screen shows."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from textual.pilot import Pilot

from rapidfire_cli.app.verbs.top import desk
from rapidfire_cli.store.journal import SqliteJournal
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.metadata import Metadata
from rapidfire_cli.view.top.app import Top
from rapidfire_cli.view.top.following import Following
from tests.store.sweep import METADATA, enrolled, runs
from tests.view.sweeps import sweep

HOME = Path("digits")
SIZE = 80, 24
PATIENCE = 200  # looks of 50 ms


def kept(home: Path, count: int = 6, metadata: Metadata = METADATA) -> SqliteJournal:
    """The journal of a sweep whose runs wait to be trained."""
    home.mkdir(parents=True, exist_ok=True)
    return enrolled(home / "journal.db", count, metadata)


FILE = """\
experiment: digits
mlspec: none:None
config:
  train: {epochs: 5, batch_size: 64, optimizer: {name: Adam, args: {lr: 0.001}}}
"""


def swept(home: Path, count: int = 6, failing: int | None = None) -> SqliteJournal:
    """The journal of a sweep that is over."""
    journal = kept(home, count)
    journal.record([*sweep(count, failing=failing)])
    (home / "experiment.yaml").write_text(FILE)
    (home / "manifest.jsonl").touch()
    for run in runs(count):
        ExperimentDir(home).run(run).mkdir(parents=True, exist_ok=True)
    return journal


def shown(app: Top) -> list[str]:
    """The lines of the screen."""
    width, height = app.size
    strips = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip)[:width].rstrip() for strip in strips[:height]]


def seen(app: Top) -> str:
    return "\n".join(shown(app))


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    """Wait for it."""
    for _ in range(PATIENCE):
        if condition():
            return
        await pilot.pause(0.05)
    raise AssertionError(f"this did not come about; the screen shows\n{seen(pilot.app)}")  # type: ignore[arg-type]


def visit(
    home: Path,
    story: Callable[[Top, Pilot[None]], Awaitable[None]],
    size: tuple[int, int] = SIZE,
    read_only: bool = False,
) -> None:
    """Open the app on the experiment, wait until it is read, and go through the story."""

    async def visited() -> None:
        place = ExperimentDir(home)
        app = Top(Following(place), desk(place, read_only))
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: app._drawn > 0)
            await pilot.pause()
            await story(app, pilot)

    asyncio.run(visited())
