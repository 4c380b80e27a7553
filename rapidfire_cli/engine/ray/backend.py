"""The Ray backend, on the controller's side: workers on the nodes of a cluster, behind a bridge process.

Theory of operation. The controller never imports ray: it starts the bridge, says which cluster to use, and
exchanges numbered lines with all workers through it (`wire`). What the bridge passes on is sorted by worker
here. Nothing waits for a worker or the network but `wait`, and `close`.

Invariants:

- A run that a killed worker may still write is given to another worker only once the killed one has ended for
  certain. Until then the other's orders are kept here.
- A trace in the experiment's directory says that workers may be on a cluster; it stays if they cannot be
  known to have ended (`lease`).
"""

import math
import os
import secrets
import select
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rapidfire_cli.durable import disk
from rapidfire_cli.engine.local.backend import command_of
from rapidfire_cli.engine.local.channel import Channel
from rapidfire_cli.engine.messages import Order, Report, Setup, Train, decode_all, encode
from rapidfire_cli.engine.ports import BackendGone, Heartbeat, Slot, Worker, WorkerGone
from rapidfire_cli.engine.ray.lease import SILENCE, leave_trace, remove_trace
from rapidfire_cli.engine.ray.steward import versions
from rapidfire_cli.engine.ray.wire import (
    MODE,
    TOKEN,
    Beat,
    Connect,
    Connected,
    Dump,
    Gone,
    Joined,
    Kill,
    Lost,
    Printed,
    Record,
    Start,
    Stored,
    Withdrawn,
    line,
    read,
    relayed,
)

CONNECTING = 0.1  # seconds between two looks at whether to stop connecting (assumed)
PATIENCE = {"RAY_py_gcs_connect_timeout_s": "5"}  # measured: 15 seconds until an address is given up, not 40
LEAVING = 5.0  # seconds for the bridge to leave the cluster (assumed)
BRIDGE = command_of("rapidfire_cli.engine.ray.bridge")
"""The command that starts the bridge."""


class RayWorker:
    """A worker on some node."""

    def __init__(self, backend: "RayBackend", number: int) -> None:
        self.number = number
        self.runs: set[int] = set()  # that it was ordered to train
        self.kept: deque[Order] = deque()  # orders that wait for another worker's end
        self.lines: list[bytes] = []  # reports at hand
        self.beat = Heartbeat(0, 0)
        self.ending: str | None = None  # how it ended
        self.killed = False
        self._backend = backend

    def send(self, order: Order) -> None:
        """Hand over an order, without waiting; `receive` reports when the worker is gone."""
        if not self.killed:
            self.kept.append(order)
            self._backend.forward(self)

    def receive(self) -> Iterator[Report]:
        """The reports at hand. Raises WorkerGone after the last one."""
        lines, self.lines = self.lines, []
        yield from decode_all(lines)
        if self.ending is not None and not lines:
            raise WorkerGone(self.ending)

    def heartbeat(self) -> Heartbeat:
        """How far it is, as far as its node has said; also when it is gone."""
        return self.beat

    def dump(self) -> None:
        """Have it write its stack traces to the log of the run that it trains."""
        self._backend.say(Dump(self.number))

    def kill(self) -> None:
        """End the process and its children; its runs may train elsewhere once that is certain."""
        if not self.killed and self.ending is None:
            self._backend.say(Kill(self.number))
        self.killed = True


class RayBackend:
    """Offers slots on the nodes of a cluster; call `use` before starting a worker, and `close` at the end."""

    def __init__(
        self,
        wish: Connect,
        log: Path,
        bridge: Sequence[str] = BRIDGE,
        stop_asked: Callable[[], bool] = lambda: False,
    ) -> None:
        """Start the bridge, and connect. Raises BackendGone, OSError, and KeyboardInterrupt when stopped."""
        self.slots: Sequence[Slot] = ()
        self.threads = wish.threads or 0  # of each worker
        self.apart: set[str] = set()  # hosts that do not share the experiment's directory
        self._setup: Callable[[Slot], Setup]
        self._trace = Path(wish.trace)
        self._workers: dict[int, RayWorker] = {}  # that have not ended, by number
        self._started = 0
        leave_trace(self._trace, wish.secret)
        ours, theirs = socket.socketpair()
        with theirs, open(disk.append(log), "ab") as output:  # noqa: PTH123
            self._bridge = subprocess.Popen(
                [*bridge, str(theirs.fileno()), str(os.getpid())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
                env={**PATIENCE, **os.environ, **(_own() if wish.address == "local" else {})},
            )
        self._channel = Channel(ours)
        self._life = os.pidfd_open(self._bridge.pid)
        self._log = log
        self._connected = False
        self.say(wish)
        try:
            while not self._connected:
                if stop_asked():
                    raise KeyboardInterrupt
                self._exchange(CONNECTING)
        except (BackendGone, KeyboardInterrupt):
            self.close()
            raise

    def use(self, setup: Callable[[Slot], Setup]) -> "RayBackend":
        """Let `setup` return the first order to a worker of a slot."""
        self._setup = setup
        return self

    def start(self, slot: Slot) -> RayWorker:
        """Start a worker and hand it its setup."""
        self._started += 1
        worker = self._workers[self._started] = RayWorker(self, self._started)
        self.say(Start(worker.number, slot, replace(self._setup(slot), slot=slot.index)))
        return worker

    def wait(self, workers: Sequence[Worker], timeout: float) -> Sequence[Worker]:
        """The workers with something to receive. Raises BackendGone."""
        speaking = [worker for worker in workers if self._speaks(worker)]
        if not speaking:
            self._exchange(timeout)
            speaking = [worker for worker in workers if self._speaks(worker)]
        return speaking

    def say(self, record: Record) -> None:
        """Send a record to the bridge."""
        self._put(line(record))

    def forward(self, worker: RayWorker) -> None:
        """Send the worker's orders, up to one for a run that a killed worker may still write."""
        while worker.kept:
            if isinstance(order := worker.kept[0], Train):
                runs = {assignment.run for assignment in order.runs}
                if any(runs & other.runs for other in self._dying()):
                    return
                worker.runs |= runs
            self._put(relayed(worker.number, encode(worker.kept.popleft()).rstrip(b"\n")))

    def close(self) -> None:
        """End every worker, and wait until that is certain, for SILENCE seconds at most."""
        deadline = time.monotonic() + SILENCE
        with suppress(BackendGone):
            for worker in self._workers.values():
                worker.kill()
            while self._workers and (left := deadline - time.monotonic()) > 0:
                self._exchange(left)
        if not self._workers:
            remove_trace(self._trace)
        self._channel.close()
        try:
            self._bridge.wait(LEAVING)
        except subprocess.TimeoutExpired:
            self._bridge.kill()
            self._bridge.wait()
        os.close(self._life)

    def _dying(self) -> Iterator[RayWorker]:
        return (worker for worker in self._workers.values() if worker.killed)

    @staticmethod
    def _speaks(worker: Worker) -> bool:
        assert isinstance(worker, RayWorker)
        return bool(worker.lines) or worker.ending is not None

    def _put(self, data: bytes) -> None:
        self._channel.put(data + b"\n")
        with suppress(OSError):  # its end is noticed when something is awaited
            self._channel.push()

    def _exchange(self, timeout: float) -> None:
        """Wait for the bridge, and take what it passes on. Raises BackendGone."""
        poll = select.poll()
        poll.register(self._channel, self._channel.wants)
        poll.register(self._life, select.POLLIN)
        if not poll.poll(math.ceil(1000 * timeout)):
            return
        try:
            self._channel.push()
            lines = self._channel.pull()
        except OSError:
            raise BackendGone(f"the connection to the Ray cluster has ended; see {self._log}") from None
        for message in read(lines or ()):
            self._take(message)

    def _take(self, message: Record | tuple[int, bytes]) -> None:
        match message:
            case (int(number), bytes(report)):
                if worker := self._workers.get(number):
                    worker.lines.append(report)
            case Beat(number, marks, step):
                if worker := self._workers.get(number):
                    worker.beat = Heartbeat(marks, step)
            case Gone(number, cause):
                if worker := self._workers.pop(number, None):
                    worker.ending = cause
                for worker in self._workers.values():
                    self.forward(worker)
            case Joined(slots, threads, apart):
                self.slots = (*self.slots, *slots)
                self.apart |= {slot.host for slot in slots if apart}
                self.threads = min(self.threads or threads, threads)
            case Withdrawn(slots):
                self.slots = tuple(
                    replace(slot, withdrawn=True) if slot.index in slots else slot for slot in self.slots
                )
            case Connected():
                self._connected = True
            case Lost(cause):
                raise BackendGone(cause)
            case Connect() | Start() | Dump() | Kill() | Stored() | Printed():
                raise AssertionError(f"the bridge sends no {type(message).__name__}")


def _own() -> dict[str, str]:
    """The environment of a bridge that starts a cluster of its own: only this process has the token."""
    return {MODE: "token", TOKEN: secrets.token_hex(16), "RAY_USAGE_STATS_ENABLED": "0"}


def wish(
    address: str,
    trace: Path,
    insecure: bool = False,
    workers: int | None = None,
    threads: int | None = None,
    gpus: int | None = None,
    runs_per_gpu: int = 1,
) -> Connect:
    """What to ask the bridge for; a node that sees the `trace` shares the experiment's directory."""
    here, seen, secret = str(Path.cwd()), str(trace.absolute()), secrets.token_hex(16)
    chosen = (insecure, workers, threads, gpus, runs_per_gpu)
    return Connect(address, here, seen, secret, versions(), *chosen)
