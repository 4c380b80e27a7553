"""The local backend: workers as processes of this machine, which speak JSON lines over socket pairs.

Theory of operation. A worker is started by exec, never by fork, so that it imports what it needs and inherits
nothing but its end of a socket pair, a shared page for its heartbeat, and the file that it prints to. It has
a process group of its own, which is killed as a whole; a guardian in it kills the group when the controller
ends, however that ends (`guardian`). The controller waits for all its workers in one `poll`, on two
descriptors each: the pipe, and the process itself.

Invariants: nothing here waits for a worker to read (`channel`); what a worker said before it ended is
received before it is reported gone; a killed worker leaves no process of its group behind.
"""

import contextlib
import math
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import rapidfire_cli
from rapidfire_cli.durable import disk
from rapidfire_cli.engine.local.channel import Channel
from rapidfire_cli.engine.local.heartbeat import DUMP, Page, blank
from rapidfire_cli.engine.local.log_rotation import LOG, has_outgrown, last_error, rotate
from rapidfire_cli.engine.messages import Order, Report, Setup, Train, decode_all, encode
from rapidfire_cli.engine.ports import Heartbeat, Slot, Worker, WorkerGone

ALLOCATOR = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
"""Settings of torch's allocator; torch 2.10 reads those of expandable segments under the first name only."""

_START = """\
import sys
if {place!r} not in sys.path:
    sys.path.append({place!r})
from {module} import main
main()
"""


def command_of(module: str) -> tuple[str, ...]:
    """The command that runs the module's `main` in a process of its own.

    -P keeps modules of the working directory from shadowing others.
    """
    place = str(Path(rapidfire_cli.__file__).parents[1])
    return (sys.executable, "-P", "-c", _START.format(place=place, module=module))


WORKER = command_of("rapidfire_cli.worker")
"""The command that starts a worker."""

CACHE = "cache"  # the experiment's own, where there is no other
CACHE_HOME = "XDG_CACHE_HOME"  # huggingface's libraries, torch and matplotlib go by it
TRIM_INTERVAL = 0.1  # seconds between two looks at the logs (assumed)
PATIENCE = 1.0  # seconds that a process gets to end: by itself once its pipe is closed, or killed (assumed)


class LocalWorker:
    """A process of its own process group on this machine.

    Invariant: nothing here waits for the process to read. Orders that its pipe cannot take yet are kept, and
    sent when `LocalBackend.wait` finds that it can.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], pipe: socket.socket, page: Page, log: Path, begun: int
    ) -> None:
        self._process = process
        self._channel = Channel(pipe)
        self._page = page
        self._log = log
        self._begun = begun  # bytes of it that others have written
        self._life = os.pidfd_open(process.pid)  # readable once the process has ended
        self._printed: list[str] = []  # directories of runs that had a turn since their logs were looked at

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def signs(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """What to poll for: its pipe, and its process, which turns readable when it ends.

        The second is no luxury: a child that user code forked may hold the worker's end of the pipe open.
        """
        return (self._channel.fileno(), self._channel.wants), (self._life, select.POLLIN)

    def send(self, order: Order) -> None:
        """Hand over an order, without waiting; `receive` reports it when the worker is gone."""
        if self._life < 0:
            return
        if isinstance(order, Train):
            self._printed += (assignment.directory for assignment in order.runs)
        self._channel.put(encode(order))
        self.push()

    def push(self) -> None:
        """Send what the pipe takes of the orders that it could not take before."""
        with contextlib.suppress(OSError):
            self._channel.push()

    def receive(self) -> Iterator[Report]:
        """The reports at hand. Raises WorkerGone after the last one."""
        yield from decode_all(self.lines())

    def lines(self) -> Sequence[bytes]:
        """The reports at hand, encoded. Raises WorkerGone after the last one."""
        try:
            lines = self._channel.pull()
        except OSError:
            raise WorkerGone(self._ending()) from None
        if lines is None and self._has_ended(within=0):
            raise WorkerGone(self._ending())
        return lines or ()

    def trim(self) -> None:
        """Keep the logs to their size of the runs that may have printed since the last time."""
        for directory in self._printed:
            if has_outgrown(f"{directory}/{LOG}"):
                rotate(Path(directory, LOG))
        del self._printed[:-1]  # the last one may be under way

    def heartbeat(self) -> Heartbeat:
        """How far it is, also when it is gone."""
        return self._page.read()

    def lease(self, until: int) -> None:
        """Let it live until then, as `Page.lease` says."""
        self._page.lease(until)

    def dump(self) -> None:
        """Have it write every thread's stack to the log of the run that it trains."""
        if self._life < 0:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._life, DUMP)

    def kill(self) -> None:
        """End the whole process group at once.

        A process that the kernel cannot end yet, as where a device does not answer, is left to it.
        """
        if self._life < 0:
            return
        with contextlib.suppress(OSError):  # until it is waited for, its zombie keeps the id
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):  # user code may have moved it to another group
            signal.pidfd_send_signal(self._life, signal.SIGKILL)
        if self._has_ended(within=PATIENCE):
            self._process.wait()
        self.trim()
        self._channel.close()
        os.close(self._life)
        self._life = -1

    def _has_ended(self, within: float) -> bool:
        """Whether the process ends in so many seconds."""
        return bool(select.select([self._life], [], [], within)[0])

    def _ending(self) -> str:
        """How the process ended; what it started is swept up with it."""
        self._has_ended(within=PATIENCE)
        self.kill()
        code = self._process.returncode
        said = last_error(self._log, self._begun) if code else ""
        return f"{_spell(code)}: {said}" if said else _spell(code)


def _spell(code: int | None) -> str:
    if code is None:
        return "closed its pipe and cannot be killed"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def log_of(logs: Path, slot: int) -> Path:
    """Where the workers of a slot print what belongs to no run."""
    return logs / f"worker-{slot}.log"


class LocalBackend:
    """Starts workers by `command`, with the pipe's descriptor and our process id added.

    Call from the main thread: workers die with the thread that started them."""

    def __init__(
        self, slots: Sequence[Slot], command: Sequence[str], setup: Mapping[int, Setup], logs: Path
    ) -> None:
        self.slots = slots
        self._command = tuple(command)
        self._setup = setup  # by slot
        self._logs = logs
        self._trim_due = 0.0  # by the clock

    def start(self, slot: Slot, until: int = 0) -> LocalWorker:
        """Start a worker and hand it its setup; it may live `until` then, as `Page.lease` says."""
        ours, theirs = socket.socketpair()
        setup = replace(self._setup[slot.index], slot=slot.index, share=slot.share)
        path = log_of(self._logs, slot.index)
        rotate(path)
        with theirs, open(disk.append(path), "ab") as log, os.fdopen(blank(), "rb") as page:  # noqa: PTH123
            (shown := Page(page.fileno())).lease(until)
            shared, begun = (theirs.fileno(), page.fileno()), os.fstat(log.fileno()).st_size
            process = subprocess.Popen(
                [*self._command, *map(str, shared), str(os.getpid())],
                pass_fds=shared,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                env={
                    **os.environ,
                    **worker_environment(slot, setup.threads, os.environ),
                    **cache_environment(os.environ, self._logs.parent / CACHE),
                },
            )
            worker = LocalWorker(process, ours, shown, path, begun)
        worker.send(setup)
        return worker

    def wait(self, workers: Sequence[Worker], timeout: float) -> Sequence[Worker]:
        """The workers with something to receive; meanwhile, orders that were kept are sent."""
        self._trim(workers)
        owners: dict[int, LocalWorker] = {}
        poll = select.poll()
        for worker in workers:
            assert isinstance(worker, LocalWorker)
            for sign, wanted in worker.signs:
                owners[sign] = worker
                poll.register(sign, wanted)
        heard: dict[LocalWorker, None] = {}
        for sign, seen in poll.poll(math.ceil(1000 * timeout)):
            if seen & select.POLLOUT:
                owners[sign].push()
            if seen & ~select.POLLOUT:
                heard[owners[sign]] = None
        return list(heard)

    def _trim(self, workers: Sequence[Worker]) -> None:
        """Look at the logs once in a while: a worker that prints in a loop cannot be asked to."""
        if (now := time.monotonic()) >= self._trim_due:
            self._trim_due = now + TRIM_INTERVAL
            for worker in workers:
                assert isinstance(worker, LocalWorker)
                worker.trim()


def worker_environment(slot: Slot, threads: int, environment: Mapping[str, str]) -> dict[str, str]:
    """What must be set before torch is imported, so that a run's bits do not depend on the machine's mood.

    A worker that shares its GPU wastes less of its share to fragmentation with expandable segments.
    """
    pools = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    shares = bool(slot.visible) and slot.share < 1 and not set(ALLOCATOR) & environment.keys()
    return {
        **pools,
        **({ALLOCATOR[0]: "expandable_segments:True"} if shares else {}),
        "CUDA_VISIBLE_DEVICES": slot.visible,
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS's condition for deterministic results
        "PYTHONHASHSEED": "0",  # sets of strings iterate alike in every worker
        "TOKENIZERS_PARALLELISM": "false",
    }


def cache_environment(environment: Mapping[str, str], instead: Path) -> dict[str, str]:
    """Where libraries keep what they download and convert: `instead`, where HOME cannot be written."""
    home = environment.get(CACHE_HOME) or str(Path("~/.cache"))
    usual = Path(os.path.expanduser(home))  # noqa: PTH111 - raises nothing where there is no home
    return {} if usual.is_absolute() and _is_writable(usual) else {CACHE_HOME: str(instead.absolute())}


def _is_writable(directory: Path) -> bool:
    """Whether something can be made there, or where it would be made itself."""
    try:
        exists = next(place for place in (directory, *directory.parents) if place.exists())
        TemporaryDirectory(dir=exists).cleanup()
    except OSError:
        return False
    return True
