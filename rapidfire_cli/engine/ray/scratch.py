"""A node's own directory, where it does not see that of the experiment.

Theory of operation. A steward whose node does not share the experiment's directory has its workers train in a
directory of the node, laid out in the same way. What they report passes through here on its way: before a
report that says that something is durable comes a notice (`Stored`), upon which the bridge fetches it. The
report follows when it is durable on the controller's machine, too (`carrier`). What workers print is sent as
it comes.

The directory lies in RAPIDFIRE_SCRATCH, or where temporary files do. It is locked as long as the steward
lives. A process that waits for the steward's end deletes it; if that is killed, the next steward does.
"""

import base64
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rapidfire_cli.durable import disk
from rapidfire_cli.engine.local.log_rotation import LOG
from rapidfire_cli.engine.messages import Assignment, Order, Probed, Setup, Train, decode
from rapidfire_cli.engine.ray.copies import PREPARED, Store
from rapidfire_cli.engine.ray.wire import Printed, Stored
from rapidfire_cli.facts import Evicted, Saved, TurnEnded

PLACE = "RAPIDFIRE_SCRATCH"
PREFIX = "rapidfire-node-"
AT_ONCE = 2**18  # bytes of a log that are sent at a time (assumed)
NOTED = tuple(f'"is": "{kind.__name__}"'.encode() for kind in (Saved, TurnEnded, Evicted, Probed))
_JANITOR = """
(trap "" HUP INT TERM
while kill -0 "$1" 2>/dev/null; do sleep 1; done
sleep 1
rm -rf "$2") >/dev/null 2>&1 &
"""


class Scratch:
    """The files of an experiment on one node, while a steward lives."""

    def __init__(self) -> None:
        """Make the directory. Raises OSError."""
        parent = Path(os.environ.get(PLACE) or tempfile.gettempdir())
        _sweep(parent)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self._lock = os.open(self.path / "new", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        (self.path / "new").rename(self.path / "lock")
        command = ("sh", "-c", _JANITOR, "sh", str(os.getpid()), str(self.path))
        subprocess.run(command, stdin=subprocess.DEVNULL, start_new_session=True, check=False)
        self.store = Store(self.path / "experiment")
        disk.make_directory(self.store.home, lasting=False)
        self.code = self.path / "code"
        self._trees: dict[int, str] = {}  # by run
        self._fetched: dict[str, frozenset[tuple[str, int]]] = {}  # marks of trees, as they were last pinned
        self._logs: dict[str, int] = {}  # bytes of each that were sent
        self._latest: dict[int, str] = {}  # the log to which a worker prints

    def settle(self, worker: int, setup: Setup) -> Setup:
        """The first order to a worker, with its places here."""
        home = self.store.home
        self._print_to(worker, f"misc/worker-{setup.slot}.log")
        misc, prepared, rows, gangs = (str(home / name) for name in ("misc", PREPARED, "rows", "gangs"))
        return replace(setup, misc=misc, prepared=prepared, rows=rows, gangs=gangs)

    def placed(self, worker: int, order: Order) -> Order:
        """A later order, with the directories of runs here."""
        if not isinstance(order, Train):
            return order
        return replace(order, runs=tuple(self._placed(worker, each) for each in order.runs))

    def notice(self, worker: int, report: bytes) -> Stored | None:
        """What is to be fetched before the report is passed on."""
        if not any(kind in report for kind in NOTED):
            return None
        said = decode(report)
        if isinstance(said, Probed):
            return Stored(worker, 0, PREPARED) if said.prepares else None
        tree = self._trees[said.run]
        return Stored(worker, said.run, tree) if isinstance(said, Saved) or self._has_changed(tree) else None

    def is_known(self, tree: str) -> None:
        """Note that the controller's machine has, or is about to fetch, the tree as it is now."""
        self._fetched[tree] = self.store.marks(tree)

    def printed(self) -> Iterator[Printed]:
        """What workers have printed since the last call, at most AT_ONCE bytes of each log."""
        for path, sent in [*self._logs.items()]:
            try:
                with (self.store.home / path).open("rb") as log:
                    size = log.seek(0, os.SEEK_END)
                    log.seek(begin := sent if sent <= size else 0)  # else it was rotated
                    data = log.read(AT_ONCE)
            except FileNotFoundError:
                continue
            self._logs[path] = begin + len(data)
            if data:
                yield Printed(path, base64.b64encode(data).decode())
            elif path not in self._latest.values() and not path.startswith("misc/"):
                del self._logs[path]

    def _placed(self, worker: int, assignment: Assignment) -> Assignment:
        tree = self._trees[assignment.run] = f"runs/{Path(assignment.directory).name}"
        disk.make_directory(self.store.home / tree, lasting=False)
        self._print_to(worker, f"{tree}/{LOG}")
        return replace(assignment, directory=str(self.store.home / tree))

    def _print_to(self, worker: int, path: str) -> None:
        self._latest[worker] = path
        if path not in self._logs:
            with suppress(OSError):
                self._logs[path] = (self.store.home / path).stat().st_size  # sent when it trained here before
            self._logs.setdefault(path, 0)

    def _has_changed(self, tree: str) -> bool:
        return self.store.marks(tree) != self._fetched.get(tree, frozenset())


def _sweep(parent: Path) -> None:
    """Delete the directories of stewards that have ended."""
    for path in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            lock = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(lock)
