"""Workers as local processes: started by exec, one per slot, speaking JSON lines over a socket pair."""

import contextlib
import math
import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rapidfire_cli.durable import disk
from rapidfire_cli.engine.messages import Order, Report, Setup, decode, encode
from rapidfire_cli.engine.output import rotate
from rapidfire_cli.engine.ports import Slot, Worker, WorkerGone
from rapidfire_cli.engine.progress import DUMP, Page, Progress, blank

CHUNK = 1 << 16  # bytes read at once (assumed; reports are far smaller)
PATIENCE = 1.0  # seconds that a process which closed its pipe gets to end by itself (assumed)


class LocalWorker:
    """A process of its own process group on this machine."""

    def __init__(self, process: subprocess.Popen[bytes], pipe: socket.socket, page: Page) -> None:
        self._process = process
        self._pipe = pipe
        self._page = page
        self._life = os.pidfd_open(process.pid)  # readable once the process has ended
        self._rest = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def signs(self) -> tuple[int, int]:
        """Descriptors that turn readable when it says something, and when it ends.

        The second is no luxury: a child that user code forked may hold the worker's end of the pipe open.
        """
        return self._pipe.fileno(), self._life

    def send(self, order: Order) -> None:
        """Hand over an order; nobody takes it when the worker is gone, which `receive` tells."""
        with contextlib.suppress(OSError):
            self._pipe.sendall(encode(order))

    def receive(self) -> Iterator[Report]:
        """The reports at hand. Raises WorkerGone after the last one."""
        data = self._heard()
        *lines, self._rest = (self._rest + data).split(b"\n")
        yield from map(decode, lines)
        if not data:
            raise WorkerGone(self._ending())

    def progress(self) -> Progress:
        """How far it is, also when it is gone."""
        return self._page.read()

    def dump(self) -> None:
        """Have it write every thread's stack to the log of the run that it trains."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._life, DUMP)

    def kill(self) -> None:
        """End the whole process group at once."""
        if self._life < 0:
            return
        with contextlib.suppress(ProcessLookupError):  # until it is waited for, its zombie keeps the id
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._pipe.close()
        os.close(self._life)
        self._life = -1

    def _heard(self) -> bytes:
        """What is at hand; nothing when the process is gone."""
        try:
            return self._pipe.recv(CHUNK, socket.MSG_DONTWAIT)
        except OSError:
            return b""

    def _ending(self) -> str:
        """How the process ended; what it started is swept up with it."""
        select.select([self._life], [], [], PATIENCE)
        self.kill()
        return _spell(self._process.returncode)


def _spell(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


class LocalWorkers:
    """Starts workers by `command`, with the pipe's descriptor and our process id added.

    Call from the main thread: workers die with the thread that started them."""

    def __init__(self, command: Sequence[str], setup: Mapping[int, Setup], logs: Path) -> None:
        self._command = tuple(command)
        self._setup = setup  # by slot
        self._logs = logs

    def start(self, slot: Slot) -> LocalWorker:
        """Start a worker and hand it its setup."""
        ours, theirs = socket.socketpair()
        setup, path = self._setup[slot.index], self._logs / f"worker-{slot.index}.log"
        rotate(path)
        with theirs, open(disk.append(path), "ab") as log, os.fdopen(blank(), "rb") as page:  # noqa: PTH123
            shared = theirs.fileno(), page.fileno()
            process = subprocess.Popen(
                [*self._command, *map(str, shared), str(os.getpid())],
                pass_fds=shared,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                env={**os.environ, **worker_environment(slot, setup.threads)},
            )
            worker = LocalWorker(process, ours, Page(page.fileno()))
        worker.send(setup)
        return worker

    def wait(self, workers: Sequence[Worker], timeout: float) -> Sequence[Worker]:
        """The workers with something to receive."""
        signs: dict[int, LocalWorker] = {}
        for worker in workers:
            assert isinstance(worker, LocalWorker)
            signs.update(dict.fromkeys(worker.signs, worker))
        poll = select.poll()
        for sign in signs:
            poll.register(sign, select.POLLIN)
        return list(dict.fromkeys(signs[sign] for sign, _ in poll.poll(math.ceil(1000 * timeout))))


def worker_environment(slot: Slot, threads: int) -> dict[str, str]:
    """What must be set before torch is imported, so that a run's bits do not depend on the machine's mood."""
    pools = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    return {
        **pools,
        "CUDA_VISIBLE_DEVICES": slot.visible,
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS's condition for deterministic results
        "PYTHONHASHSEED": "0",  # sets of strings iterate alike in every worker
        "TOKENIZERS_PARALLELISM": "false",
    }
