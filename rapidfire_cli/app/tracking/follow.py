"""Follow the journal for one tracker: read, log, save the cursor, and retry after an error.

Theory of operation
-------------------
Each tracker has a directory `trackers/<name>` with a lock, its files and `cursor.json`, which says how much
of the journal it has logged. One process at a time follows the journal for a tracker. The cursor is written
after the tracker has logged a batch. After an error the tracker is opened again and logs the same batch,
after a pause that grows; no batch is skipped. A tracker that hangs blocks only its own thread.
"""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rapidfire_cli.durable import disk, publication
from rapidfire_cli.durable.lock import lock
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.terms import Plain, Tracker
from rapidfire_cli.view.trackers import notes, registry
from rapidfire_cli.view.trackers.notes import Cursor, NoteReader
from rapidfire_cli.view.trackers.secrets import without_credentials
from rapidfire_cli.view.trackers.tracker import Place
from rapidfire_cli.view.trackers.tracker import Tracker as Opened

POLL = 1.0  # seconds between two looks at the journal (assumed: trackers refresh every few seconds)
PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds after a first error, and at most (assumed)
LAST_ATTEMPTS = 3  # after the end, before it gives up (assumed)
DRAIN = 10.0  # seconds that trackers have at the end of a fit

Open = Callable[[Place], Opened]
"""Opens the tracker."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How much a tracker has logged, and the error of the last attempt."""

    cursor: Cursor = field(default_factory=Cursor)
    error: str = ""  # one line; empty where the last attempt succeeded


class Follower:
    """Follows the journal for one tracker; `open` replaces what the registry opens."""

    def __init__(self, home: ExperimentDir, name: Tracker, open: Open | None = None) -> None:
        self._home = home
        self._name = name
        self._open = open or registry.module_of(name).opened
        self._ended = threading.Event()

    @property
    def directory(self) -> Path:
        return directory_of(self._home, self._name)

    def end(self) -> None:
        """Make `follow` return as soon as the tracker has logged everything."""
        self._ended.set()

    def follow(self) -> bool:
        """Log what happens until `end`; return False if the tracker could not log everything.

        Raises Held if another process logs to the tracker.
        """
        left, pause = LAST_ATTEMPTS, PAUSE
        disk.make_directory(self.directory)
        with lock(self.directory / "lock", "a process that logs to it"):
            while not self._attempt():
                if not self._ended.wait(pause):
                    pause = min(2 * pause, LONGEST_PAUSE)
                    continue
                left -= 1
                if not left:
                    return False
                time.sleep(PAUSE)
        return True

    def _attempt(self) -> bool:
        """Log everything until the end; return False if something raised."""
        tracker: Opened | None = None
        try:
            known = progress(self._home, self._name)
            source = NoteReader(self._home.journal, known.cursor)
            while True:
                ending = self._ended.is_set()  # read first: what was recorded before the end is logged, too
                batch = source.read()
                if batch.notes:
                    tracker = tracker or self._open(notes.place(self._home.journal, self.directory))
                    tracker.log(batch.notes)
                if (now := Progress(batch.cursor)) != known:
                    _keep(self.directory, known := now)
                if ending and not batch.more:
                    break
                if not batch.more:
                    self._ended.wait(POLL)
            if tracker:
                tracker.close()
        except Exception as error:
            self._note(error)
            with suppress(Exception):
                if tracker:
                    tracker.close()
            return False
        return True

    def _note(self, error: Exception) -> None:
        line = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
        cause = without_credentials(line)
        print(f"{self._name}: {cause}", flush=True)
        with suppress(OSError):
            _keep(self.directory, Progress(progress(self._home, self._name).cursor, cause))


def directory_of(home: ExperimentDir, name: Tracker) -> Path:
    """The tracker's directory."""
    return home.trackers / name


def progress(home: ExperimentDir, name: Tracker) -> Progress:
    """How much the tracker has logged; nothing if its cursor is missing or damaged."""
    try:
        kept = json.loads((directory_of(home, name) / "cursor.json").read_text("utf-8"))
        inside = {int(run): (epoch, step) for run, (epoch, step) in kept["inside"].items()}
        return Progress(Cursor(kept["seq"], inside, kept["first"]), kept["error"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Progress()


def behind(home: ExperimentDir, name: Tracker) -> int:
    """The number of events that the tracker has not logged yet."""
    return notes.behind(home.journal, progress(home, name).cursor)


def _keep(directory: Path, known: Progress) -> None:
    inside: dict[str, Plain] = {str(run): list(at) for run, at in known.cursor.inside.items()}
    cursor: dict[str, Plain] = {"seq": known.cursor.seq, "inside": inside, "first": known.cursor.first}
    plain: Plain = {**cursor, "error": known.error}
    publication.write(directory / "cursor.json", json.dumps(plain))
