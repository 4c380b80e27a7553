"""`logs`: what a run printed, and with `--follow` what it prints."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.selection import named_run
from rapidfire_cli.durable.lock import is_held
from rapidfire_cli.engine.local.log_rotation import LOG
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import RunRow, overview
from rapidfire_cli.terms import RunState

LOOK = 0.2  # seconds between two looks at the file (assumed)
WILL_PRINT = frozenset({RunState.QUEUED, RunState.RUNNING})


def logs(run: str, experiment: str | None, parent: str | None, tail: int | None, follow: bool) -> int:
    """Print the run's log, its last `tail` lines. Raises Refusal if there is none."""
    seen = open_overview(experiment, parent, unlisted=True)
    row = named_run(run, seen)
    path = seen.home.run(row) / LOG
    if not path.is_file() and not (follow and _will_print(seen.home, row)):
        raise Refusal(
            [Problem("E512", f"run {row.number} has no log", found=f"{row.state}, {path} is missing")]
        )
    text = path.read_bytes() if path.is_file() else b""
    _write(b"".join(text.splitlines(keepends=True)[-tail:]) if tail else text)
    if follow:
        for more in _added(path, len(text), seen.home, row):
            _write(more)
    return 0


def _added(path: Path, size: int, home: ExperimentDir, row: RunRow) -> Iterator[bytes]:
    """What is added to the log until the run is over; a log that was rotated is read from its beginning."""
    while True:
        over = not _will_print(home, row)  # read before the file, so that nothing is missed
        if path.is_file():
            with path.open("rb") as file:
                if file.seek(0, 2) < size:
                    size = 0
                file.seek(size)
                added = file.read()
            size += len(added)
            yield added
        if over:
            return
        time.sleep(LOOK)


def _will_print(home: ExperimentDir, row: RunRow) -> bool:
    """Whether a process trains the experiment, and the run is not over."""
    alive = is_held(home.lock)
    rows = overview(home.journal, alive, unlisted=True).rows
    return alive and any(one.number == row.number and one.state in WILL_PRINT for one in rows)


def _write(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
