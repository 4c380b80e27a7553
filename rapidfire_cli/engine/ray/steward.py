"""The steward: hosts the workers of one node, on behalf of a controller that is elsewhere.

Theory of operation. A steward is a Ray actor on its node. Its workers are the same processes as on the
controller's machine, with guardians that end them when the steward ends. The bridge puts orders, which are
numbered, as calls of an actor may overtake each other, and polls for reports, heartbeats and endings. A poll
renews the lease of the steward and its workers (`lease`); without polls all of them end.

Nothing here depends on Ray: the bridge makes an actor of the class.
"""

import asyncio
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from rapidfire_cli.durable import disk
from rapidfire_cli.engine.local.backend import WORKER, LocalBackend, LocalWorker
from rapidfire_cli.engine.local.heartbeat import SECOND, now
from rapidfire_cli.engine.local.slots import visible_gpus
from rapidfire_cli.engine.messages import Setup, decode
from rapidfire_cli.engine.ports import Heartbeat, WorkerGone
from rapidfire_cli.engine.ray.lease import POLL, RENEWAL
from rapidfire_cli.engine.ray.wire import Beat, Connect, Dump, Gone, Kill, Start, line, read, relayed

TICK = 0.1  # seconds between two looks at logs, unsent orders and the lease (assumed)
PACKAGES = ("rapidfire-cli", "torch", "numpy", "transformers", "datasets", "torchmetrics", "safetensors")


@dataclass(frozen=True, slots=True)
class Sight:
    """What a steward sees of its node."""

    secret: str  # in the trace; empty if there is none
    enters: bool  # whether the working directory exists
    gpus: tuple[str, ...]  # that it may use, as CUDA_VISIBLE_DEVICES names them
    versions: tuple[tuple[str, str], ...]


class Steward:
    """The workers of one node."""

    def __init__(self, command: tuple[str, ...] = ()) -> None:
        self._command = command or WORKER
        self._setups: dict[int, Setup] = {}  # by slot
        self._backend: LocalBackend | None = None  # once a worker was started
        self._workers: dict[int, LocalWorker] = {}
        self._signs: dict[int, list[int]] = {}  # the descriptors that are watched, by worker
        self._beats: dict[int, Heartbeat] = {}  # that were reported last
        self._reports: list[bytes] = []  # that no poll has taken
        self._news = asyncio.Event()
        self._taken = 0  # orders
        self._early: dict[int, list[bytes]] = {}  # orders that overtook others
        self._until = 0  # when the lease ends; the clock of `heartbeat.now`
        self._ticking: asyncio.Task[None] | None = None

    async def look(self, directory: str, trace: str) -> Sight:
        """Go to the working directory, and see what is there."""
        self._renew()
        enters = Path(directory).is_dir()
        if enters:
            os.chdir(directory)
        try:
            secret = Path(trace).read_text("utf-8")
        except OSError:
            secret = ""
        present = len([*Path("/dev").glob("nvidia[0-9]*")])
        return Sight(secret, enters, visible_gpus(os.environ, present), versions())

    async def put(self, number: int, lines: list[bytes]) -> None:
        """Take orders; `number` counts the calls of this method."""
        self._early[number] = lines
        while (due := self._early.pop(self._taken, None)) is not None:
            self._taken += 1
            self._obey(due)

    async def poll(self) -> list[bytes]:
        """What the workers report and how far they are, after at most POLL seconds."""
        self._renew()
        if not self._reports:
            self._news.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), POLL)
        taken, self._reports = self._reports, []
        for number, worker in self._workers.items():
            if (beat := worker.heartbeat()) != self._beats.get(number):
                self._beats[number] = beat
                taken.append(line(Beat(number, beat.marks, beat.step)))
        return taken

    def _renew(self) -> None:
        """Live on, unless the lease is over: a poll that was on its way meanwhile comes too late."""
        if self._until and now() >= self._until:
            self._leave()
        self._until = now() + int(RENEWAL * SECOND)
        for worker in self._workers.values():
            worker.lease(self._until)
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().create_task(self._tick())

    async def _tick(self) -> None:
        """Care for the workers; end with them once the lease is over."""
        while now() < self._until:
            self._collect()
            await asyncio.sleep(TICK)
        self._leave()

    def _leave(self) -> NoReturn:
        """End at once, and with it the workers."""
        for worker in self._workers.values():
            worker.kill()
        os._exit(1)

    def _obey(self, lines: Iterable[bytes]) -> None:
        for order in read(lines):
            match order:
                case (int(number), bytes(message)):
                    if worker := self._workers.get(number):
                        worker.send(decode(message))
                case Start(number, slot, setup):
                    self._start(number, Start(number, slot, setup))
                case Dump(number):
                    if worker := self._workers.get(number):
                        worker.dump()
                case Kill(number):
                    if worker := self._workers.get(number):
                        worker.kill()
                        self._end(number, "killed")
                case _:
                    raise ValueError(order)

    def _start(self, number: int, start: Start) -> None:
        self._setups[start.slot.index] = start.setup
        if self._backend is None:
            logs = Path(start.setup.misc)
            disk.make_directory(logs)
            self._backend = LocalBackend((), self._command, self._setups, logs)
        try:
            worker = self._backend.start(start.slot, self._until)
        except OSError as error:
            self._report(line(Gone(number, f"could not be started: {error}")))
            return
        self._workers[number] = worker
        self._signs[number] = [sign for sign, _ in worker.signs]
        for sign in self._signs[number]:
            asyncio.get_running_loop().add_reader(sign, self._collect)

    def _collect(self) -> None:
        """Take what the workers have reported."""
        if self._backend is None:
            return
        numbers = {id(worker): number for number, worker in self._workers.items()}
        for worker in self._backend.wait([*self._workers.values()], 0):
            assert isinstance(worker, LocalWorker)
            number = numbers[id(worker)]
            try:
                for report in worker.lines():
                    self._report(relayed(number, report))
            except WorkerGone as gone:
                self._end(number, str(gone))

    def _end(self, number: int, cause: str) -> None:
        beat = self._workers.pop(number).heartbeat()
        for sign in self._signs.pop(number):
            asyncio.get_running_loop().remove_reader(sign)
        self._beats.pop(number, None)
        self._report(line(Beat(number, beat.marks, beat.step)))
        self._report(line(Gone(number, cause)))

    def _report(self, report: bytes) -> None:
        self._reports.append(report)
        self._news.set()


def mismatch(wish: Connect, host: str, sight: Sight) -> str:
    """In what the node differs from the controller's machine so that it cannot train; empty if in nothing."""
    if not sight.enters:
        return f"node {host} has no directory {wish.directory}: all nodes must see it at the same path"
    if sight.secret != wish.secret:
        return (
            f"node {host} does not see {os.path.dirname(wish.trace)}: use a file system that all nodes share"  # noqa: PTH120
        )
    ours, theirs = dict(wish.versions), dict(sight.versions)
    different = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
    if different:
        name = different[0]
        return f"node {host} has {name} {theirs.get(name, 'not installed')}, this machine {ours.get(name)}"
    return ""


def versions() -> tuple[tuple[str, str], ...]:
    """The versions of Python and the packages on which results depend, as far as they are installed."""
    found = [("python", platform.python_version())]
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found.append((package, importlib.metadata.version(package)))
    return tuple(found)
