"""The terminal app: its first picture of 10,000 runs beside textual's DataTable, and what it costs at rest.

    python -m bench.top [--runs 10000] [--seconds 15]

Seconds are those of the CPU, which other processes change least. The tables are the same, 12 columns each,
and every text is ready for the DataTable, while RunTable makes what it shows. "At rest" is `rapidfire top` in
a terminal of its own on a finished experiment, and on one that a process holds as a fit does, after it has
read the journal.
"""

import argparse
import asyncio
import fcntl
import os
import pty
import statistics
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from textual.app import App, ComposeResult
from textual.widget import Widget
from textual.widgets import DataTable

from rapidfire_cli.durable.lock import lock
from rapidfire_cli.facts import EpochEnded, Metric, RunChanged
from rapidfire_cli.store.journal import SqliteJournal
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.metadata import Metadata
from rapidfire_cli.terms import Objective, Run, RunState, canonical
from rapidfire_cli.view.top.columns import columns
from rapidfire_cli.view.top.following import Following
from rapidfire_cli.view.top.table import RunTable

KNOBS = ("a", "b", "c", "d", "e", "f")
ROUNDS = 3
SIZE = 200, 50
TICK = os.sysconf("SC_CLK_TCK")


def experiment(home: ExperimentDir, count: int) -> None:
    """Runs of six knobs that ended after one epoch."""
    home.path.mkdir(parents=True)
    runs = []
    for number in range(1, count + 1):
        knobs = {name: number * (place + 3) % 97 / 7 for place, name in enumerate(KNOBS)}
        leaf = {"user_knobs": knobs, "train": {"epochs": 1, "batch_size": 32}}
        runs.append(Run(number, f"{number:016x}", 1, canonical(leaf), 42))
    varied = tuple(f"user_knobs.{name}" for name in KNOBS)
    journal = SqliteJournal(home.journal)
    journal.enroll(Metadata("wide", Objective("accuracy", "max"), varied), runs, [1] * count)
    for number in range(1, count + 1):
        metrics = (
            Metric("train", "loss", 1 / number),
            Metric("validation", "loss", 2 / number),
            Metric("validation", "accuracy", number * 31 % count / count),
        )
        journal.take([EpochEnded(number, 1, 10, metrics, 1.0), RunChanged(number, RunState.COMPLETED)])
    journal.commit()
    journal.close()


class Painted(App[None]):
    """Fills a widget, and notes how long it takes until it is on the screen."""

    def __init__(self, widget: Widget, fill: Callable[[], None]) -> None:
        super().__init__()
        self.seconds = 0.0
        self._widget, self._fill = widget, fill

    def compose(self) -> ComposeResult:
        """The widget alone."""
        yield self._widget

    def on_mount(self) -> None:
        """Fill it."""
        self._begun = time.process_time()
        self._fill()
        self.call_after_refresh(self._rendered)

    def _rendered(self) -> None:
        self.screen._compositor.render_strips()
        self.seconds = time.process_time() - self._begun


def painted(widget: Widget, fill: Callable[[], None]) -> float:
    """Seconds until it is on the screen."""

    async def shown() -> float:
        app = Painted(widget, fill)
        async with app.run_test(size=SIZE) as pilot:
            while not app.seconds:
                await pilot.pause()
        return app.seconds

    return asyncio.run(shown())


def first_pictures(home: ExperimentDir) -> None:
    """Print how long reading and both tables take."""
    following = Following(home)
    begun = time.process_time()
    following.read()
    read = time.process_time() - begun
    known = following.known
    assert known
    rows = [*known.rows.values()]
    every = columns(known)
    texts = [[column.text(row)[0] for column in every] for row in rows]
    titles = [column.title for column in every]

    def ours() -> float:
        following.read()  # no config is parsed yet
        assert following.known
        table, now = RunTable(), following.known
        return painted(table, lambda: table.show([*now.rows.values()], columns(now), now.best(), ("", False)))

    def theirs() -> float:
        table: DataTable[str] = DataTable()

        def fill() -> None:
            table.add_columns(*titles)
            table.add_rows(texts)

        return painted(table, fill)

    mine = statistics.median(ours() for _ in range(ROUNDS))
    usual = statistics.median(theirs() for _ in range(ROUNDS))
    following.close()
    print(f"{len(rows):,} runs × {len(titles)} columns: journal read in {1000 * read:.0f} ms")
    print(
        f"first picture: {1000 * mine:.0f} ms; DataTable: {1000 * usual:.0f} ms, {usual / mine:.1f} × as long"
    )


def at_rest(home: ExperimentDir, seconds: float, is_held: bool) -> None:
    """Print the share of a core that the app takes when nothing happens."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
    with ExitStack() as stack:
        if is_held:
            stack.enter_context(lock(home.lock, "process 1"))
        command = [sys.executable, "-m", "rapidfire_cli", "top", "-e", str(home.path)]
        environment = {**os.environ, "TERM": "xterm-256color"}
        app = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        threading.Thread(target=drain, args=(ours,), daemon=True).start()
        time.sleep(10)
        before = _cpu(app.pid)
        time.sleep(seconds)
        spent = _cpu(app.pid) - before
        os.write(ours, b"q")
        app.wait(30)
    state = "held by a process" if is_held else "finished"
    print(f"at rest, {state}: {100 * spent / seconds:.2f} % of a core")


def drain(terminal: int) -> None:
    """Read what an app writes to its terminal, until it ends."""
    try:
        while os.read(terminal, 1 << 16):
            pass
    except OSError:  # the app has ended
        pass


def _cpu(pid: int) -> float:
    """Seconds of CPU that the process has used."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / TICK


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=15.0)
    asked = parser.parse_args()
    with TemporaryDirectory() as place:
        home = ExperimentDir(Path(place) / "wide")
        experiment(home, asked.runs)
        first_pictures(home)
        at_rest(home, asked.seconds, is_held=False)
        at_rest(home, asked.seconds, is_held=True)


if __name__ == "__main__":
    main()
