"""The steward: hosts the workers of one node, on behalf of a controller that is elsewhere.

Theory of operation. A steward is a Ray actor on its node. Its workers are the same processes as on the
controller's machine, with guardians that end them when the steward ends. The bridge puts orders, which are
numbered, as calls of an actor may overtake each other, and polls for reports, heartbeats and endings. A poll
renews the lease of the steward and its workers (`lease`); without polls all of them end. Where the node does
not see the experiment's directory, workers train in one of the node (`scratch`), and the bridge copies files.

Nothing here depends on Ray: the bridge makes an actor of the class.
"""

import asyncio
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from rapidfire_cli.durable import disk, publication
from rapidfire_cli.engine.local.backend import WORKER, LocalBackend, LocalWorker
from rapidfire_cli.engine.local.heartbeat import SECOND, now
from rapidfire_cli.engine.local.slots import visible_gpus
from rapidfire_cli.engine.messages import Setup, decode
from rapidfire_cli.engine.ports import Heartbeat, WorkerGone
from rapidfire_cli.engine.ray.code import unpack
from rapidfire_cli.engine.ray.copies import Unit
from rapidfire_cli.engine.ray.lease import JOINING, POLL, RENEWAL
from rapidfire_cli.engine.ray.scratch import Scratch
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
        self._scratch: Scratch | None = None  # if the node has a directory of its own
        self._apart = False  # whether workers train there
        self._moved = ("", "")  # the working directory on the controller's machine, and here

    async def look(self, directory: str, trace: str) -> Sight:
        """Go to the working directory, and see what is there."""
        self._renew(JOINING)
        enters = Path(directory).is_dir()
        if enters:
            os.chdir(directory)
        try:
            secret = Path(trace).read_text("utf-8")
        except OSError:
            secret = ""
        present = len([*Path("/dev").glob("nvidia[0-9]*")])
        return Sight(secret, enters, visible_gpus(os.environ, present), versions())

    async def settle(self, directory: str, apart: bool, archive: bytes | None) -> None:
        """Make a directory of the node's own for what it lacks: the experiment's files, and the code.

        Raises OSError.
        """
        self._scratch, self._apart = Scratch(), apart
        if archive is not None:
            await asyncio.to_thread(unpack, archive, self._scratch.code, Path(directory))
            os.chdir(self._scratch.code)
            self._moved = (directory, str(self._scratch.code))

    async def pin(self, tree: str) -> tuple[Unit, ...]:
        """Keep what is durable in the tree as it is now, and list it. Raises OSError."""
        self._own.is_known(tree)
        return await asyncio.to_thread(self._own.store.pin, tree)

    async def read(self, tree: str, unit: str, part: str, offset: int) -> bytes:
        """The next bytes of a pinned file. Raises OSError."""
        return await asyncio.to_thread(self._own.store.read, tree, unit, part, offset)

    async def lacks(self, tree: str, units: tuple[Unit, ...]) -> set[str]:
        """Which checksums of these units no file here has. Raises OSError."""
        return await asyncio.to_thread(self._own.store.lacks, tree, units)

    async def receive(self, tree: str, sha256: str, data: bytes) -> None:
        """Take the next bytes of the file with this checksum. Raises OSError."""
        await asyncio.to_thread(self._own.store.receive, tree, sha256, data)

    async def install(self, tree: str, units: tuple[Unit, ...]) -> None:
        """Make the tree exactly as listed. Raises OSError."""
        await asyncio.to_thread(self._own.store.install, tree, units, exact=True)
        self._own.is_known(tree)

    @property
    def _own(self) -> Scratch:
        assert self._scratch
        return self._scratch

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
                async with asyncio.timeout(POLL):
                    await self._news.wait()
        taken, self._reports = self._reports, []
        for number, worker in self._workers.items():
            if (beat := worker.heartbeat()) != self._beats.get(number):
                self._beats[number] = beat
                taken.append(line(Beat(number, beat.marks, beat.step)))
        return taken

    def _renew(self, seconds: float = RENEWAL) -> None:
        """Live on, unless the lease is over: a poll that was on its way meanwhile comes too late."""
        if self._until and now() >= self._until:
            self._leave()
        self._until = now() + int(seconds * SECOND)
        for worker in self._workers.values():
            worker.lease(self._until)
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().create_task(self._tick())

    async def _tick(self) -> None:
        """Care for the workers; end with them once the lease is over."""
        while now() < self._until:
            self._collect()
            self._pass_on_logs()
            await asyncio.sleep(TICK)
        self._leave()

    def _leave(self) -> NoReturn:
        """End at once, and with it the workers."""
        for worker in self._workers.values():
            worker.kill()
        os._exit(1)

    def _obey(self, lines: Iterable[bytes]) -> None:
        for each in read(lines):
            match each:
                case (int(number), bytes(message)):
                    if worker := self._workers.get(number):
                        order = decode(message)
                        worker.send(self._own.placed(number, order) if self._apart else order)
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
                    raise ValueError(each)

    def _start(self, number: int, start: Start) -> None:
        setup = replace(start.setup, path=tuple(_moved(path, *self._moved) for path in start.setup.path))
        if self._apart:
            setup = self._own.settle(number, setup)
        else:  # workers that share prepared rows wait for each other, which they can only on one machine
            setup = replace(setup, rows=f"{setup.rows}/{publication.machine()}")
        self._setups[start.slot.index] = setup
        if self._backend is None:
            logs = Path(setup.misc)
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
                    if self._apart and (notice := self._own.notice(number, report)):
                        self._report(line(notice))
                    self._report(relayed(number, report))
            except WorkerGone as gone:
                self._end(number, str(gone))

    def _end(self, number: int, cause: str) -> None:
        beat = self._workers.pop(number).heartbeat()
        for sign in self._signs.pop(number):
            asyncio.get_running_loop().remove_reader(sign)
        self._beats.pop(number, None)
        self._pass_on_logs()
        self._report(line(Beat(number, beat.marks, beat.step)))
        self._report(line(Gone(number, cause)))

    def _pass_on_logs(self) -> None:
        for printed in self._own.printed() if self._apart else ():
            self._report(line(printed))

    def _report(self, report: bytes) -> None:
        self._reports.append(report)
        self._news.set()


def _moved(path: str, theirs: str, here: str) -> str:
    """A path in the working directory, if that is elsewhere on this node."""
    if not theirs or not Path(path).is_relative_to(theirs):
        return path
    return str(Path(here, Path(path).relative_to(theirs)))


def mismatch(wish: Connect, host: str, sight: Sight) -> str:
    """In which version the node differs from the controller's machine; empty if in none."""
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
