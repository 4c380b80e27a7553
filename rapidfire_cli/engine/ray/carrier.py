"""Carries files between the controller's machine and a node that does not share the experiment's directory.

Theory of operation. A `Courier` of the bridge stands between the controller and the workers of such a node.
What concerns one worker passes in order. A report waits until what it says to be durable is durable here, and
an order to train waits until the node has the run's last checkpoint, unless it has trained the run last.
Meanwhile the bridge goes on polling, so leases do not depend on how long files take.

Invariants:

- What is in the experiment's directory was written by this process or a node that shares it, and never by a
  node apart: a worker that cannot be reached can only write its own node's files.
- After a report whose files could not be fetched, the controller hears nothing of that worker but its end.
- A run's directory here is complete when the controller hears that a worker of another node may train it: all
  that was to be fetched precedes the end of its worker.
"""

import asyncio
import base64
import sys
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from ray.exceptions import RayError

from rapidfire_cli.durable import disk
from rapidfire_cli.engine.checkpoints import KEPT
from rapidfire_cli.engine.local.log_rotation import has_outgrown, rotate
from rapidfire_cli.engine.messages import Train, decode, encode
from rapidfire_cli.engine.ray.copies import CHUNK, PREPARED, Part, Store, Unit
from rapidfire_cli.engine.ray.lease import SILENCE
from rapidfire_cli.engine.ray.wire import (
    Dump,
    Gone,
    Kill,
    Printed,
    Record,
    Start,
    Stored,
    line,
    read,
    relayed,
)
from rapidfire_cli.facts import RunFailed

Begin = Callable[[Coroutine[Any, Any, None]], None]
Got = TypeVar("Got")
TRAIN = b'"is": "Train"'


class Lane:
    """Things that are dealt with one after the other."""

    def __init__(self, work: Callable[[bytes], Awaitable[None]], begin: Begin) -> None:
        self._work, self._begin = work, begin
        self._waiting: deque[bytes] = deque()
        self._busy = False

    def put(self, each: bytes) -> None:
        self._waiting.append(each)
        if not self._busy:
            self._busy = True
            self._begin(self._go_on())

    async def _go_on(self) -> None:
        while self._waiting:
            await self._work(self._waiting.popleft())
        self._busy = False


class Courier:
    """What passes between the controller and the workers of one node apart."""

    def __init__(
        self,
        here: Store,
        steward: Any,
        put: Callable[[list[bytes]], None],
        say: Callable[[list[bytes]], None],
        begin: Begin,
        trained: dict[int, object],
    ) -> None:
        """`put` sends orders to the steward, and `say` reports to the controller.

        `trained` is shared by all nodes: where a run was last ordered to be trained.
        """
        self._here, self._steward = here, steward
        self._put, self._say = put, say
        self._trained = trained
        self._orders: dict[int, Lane] = defaultdict(lambda: Lane(self._order, begin))  # by worker
        self._reports: dict[int, Lane] = defaultdict(lambda: Lane(self._report, begin))
        self._dying: set[int] = set()  # workers whose orders are of no use
        self._broken: set[int] = set()  # workers whose reports are not to be believed
        self._runs: dict[str, int] = {}  # by tree
        self._had: set[str] = set()  # trees of which the node has had anything
        self._at: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by tree
        self._kept: set[tuple[str, str]] = set()  # epoch ends that the controller had, and may have deleted
        self._prepared: object = frozenset()  # marks of the prepared files that the node has

    def order(self, message: Record | tuple[int, bytes], each: bytes) -> None:
        """Pass an order on once the node has the files that it needs; one to end the worker goes first."""
        match message:
            case Dump():
                self._put([each])
            case Kill(worker):
                self._kill(worker)
            case Start(worker) | (int(worker), bytes()):
                self._orders[worker].put(each)
            case _:
                raise ValueError(message)

    def report(self, each: bytes) -> None:
        """Pass a report on once what it says to be durable is durable here."""
        [message] = read([each])
        match message:
            case (int(worker), bytes()) | Stored(worker) | Gone(worker):
                self._reports[worker].put(each)
            case Printed(path, data):
                self._print(path, base64.b64decode(data))
            case _:
                self._say([each])

    async def _order(self, each: bytes) -> None:
        [message] = read([each])
        match message:
            case Start(worker):
                run, trees = 0, [PREPARED]
            case (int(worker), bytes(order)) if TRAIN in order:
                train = decode(order)
                assert isinstance(train, Train)
                run, trees = train.runs[0].run, [PREPARED]
                for one in train.runs:
                    tree = f"runs/{one.directory.rpartition('/')[2]}"
                    self._runs[tree] = one.run
                    trees.append(tree)
            case (int(worker), bytes()):
                run, trees = 0, []
            case _:
                raise ValueError(each)
        if worker in self._dying:
            return
        try:
            for tree in trees:
                await self._bring(tree)
        except (RayError, OSError) as error:
            if isinstance(message, Start):
                self._say([line(Gone(worker, f"could not be started: {_first_line(error)}"))])
            else:
                self._fail(worker, run, error)
            return
        if worker not in self._dying:
            self._put([each])

    async def _report(self, each: bytes) -> None:
        [message] = read([each])
        match message:
            case Stored(worker, run, tree):
                if worker not in self._broken:
                    try:
                        await self._fetch(tree)
                    except (RayError, OSError) as error:
                        self._fail(worker, run, error)
            case Gone(worker):
                self._say([each])
                self._reports.pop(worker)
                self._orders.pop(worker, None)
                self._broken.discard(worker)
            case (int(worker), bytes()) if worker not in self._broken:
                self._say([each])

    def _kill(self, worker: int) -> None:
        self._dying.add(worker)
        self._put([line(Kill(worker))])

    def _fail(self, worker: int, run: int, error: Exception) -> None:
        """Believe nothing more of the worker; a disk that is full, here or there, pauses the experiment."""
        self._broken.add(worker)
        self._kill(worker)
        if isinstance(error, OSError) and not isinstance(error, TimeoutError) and run:
            failed = RunFailed(run, "disk", f"a checkpoint cannot be copied: {_first_line(error)}", 0)
            self._say([relayed(worker, encode(failed).rstrip(b"\n"))])
        else:
            print(f"worker {worker}: {error}", file=sys.stderr, flush=True)

    async def _bring(self, tree: str) -> None:
        """Let the node have the tree as it is here, unless it has. Raises RayError, OSError."""
        async with self._at[tree]:
            marks = self._here.marks(tree)
            if tree == PREPARED:
                if marks != self._prepared:
                    await self._send(tree)
                    self._prepared = marks
            elif self._trained.get(run := self._runs[tree]) is not self:
                if marks or tree in self._had:
                    await asyncio.to_thread(self._here.sweep, tree)
                    await self._send(tree)
                self._had.add(tree)
                self._trained[run] = self

    async def _send(self, tree: str) -> None:
        units = await asyncio.to_thread(self._here.pin, tree)
        lacks = await self._asked(self._steward.lacks.remote(tree, units))
        for unit, part in _wanted(units, lacks):
            for offset in range(0, part.size or 1, CHUNK):
                data = await asyncio.to_thread(self._here.read, tree, unit.name, part.path, offset)
                await self._asked(self._steward.receive.remote(tree, part.sha256, data))
        await self._asked(self._steward.install.remote(tree, units))
        await asyncio.to_thread(self._here.unpin, tree)
        self._kept |= {(tree, unit.name) for unit in units if unit.name.startswith(KEPT)}

    async def _fetch(self, tree: str) -> None:
        """Have the tree here as it is on the node. Raises RayError, OSError."""
        async with self._at[tree]:
            pinned = await self._asked(self._steward.pin.remote(tree))
            units = [unit for unit in pinned if (tree, unit.name) not in self._kept]
            lacks = await asyncio.to_thread(self._here.lacks, tree, units)
            for unit, part in _wanted(units, lacks):
                for offset in range(0, part.size or 1, CHUNK):
                    data = await self._asked(self._steward.read.remote(tree, unit.name, part.path, offset))
                    await asyncio.to_thread(self._here.receive, tree, part.sha256, data)
            await asyncio.to_thread(self._here.install, tree, units, exact=False)
            self._kept |= {(tree, unit.name) for unit in units if unit.name.startswith(KEPT)}
            if tree == PREPARED:
                self._prepared = self._here.marks(tree)

    @staticmethod
    async def _asked(answer: Awaitable[Got]) -> Got:
        async with asyncio.timeout(SILENCE):
            return await answer

    def _print(self, path: str, data: bytes) -> None:
        """Add to a log what a worker printed, as far as the disk takes it."""
        log = self._here.home / path
        with suppress(OSError):
            disk.make_directory(log.parent, lasting=False)
            disk.add(log, data)
            if has_outgrown(str(log)):
                rotate(log)


def _wanted(units: Sequence[Unit], lacks: set[str]) -> Iterator[tuple[Unit, Part]]:
    """A file for each checksum that the other side lacks."""
    for unit in units:
        for part in unit.parts:
            if part.sha256 in lacks:
                lacks.discard(part.sha256)
                yield unit, part


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
