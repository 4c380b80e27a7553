"""Workers as local processes: started by exec, one per slot, speaking JSON lines over a socket pair."""

import contextlib
import os
import select
import selectors
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rapidfire_cli.engine.messages import Order, Report, Setup, decode, encode
from rapidfire_cli.engine.ports import Slot, Worker, WorkerGone

CHUNK = 1 << 16  # bytes read at once (assumed; reports are far smaller)
PATIENCE = 1.0  # seconds that a process which closed its pipe gets to end by itself (assumed)


class LocalWorker:
    """A process of its own process group on this machine."""

    def __init__(self, process: subprocess.Popen[bytes], pipe: socket.socket) -> None:
        self._process = process
        self._pipe = pipe
        self._rest = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        return self._pipe.fileno()

    def send(self, order: Order) -> None:
        """Hand over an order; nobody takes it when the worker is gone, which `receive` tells."""
        with contextlib.suppress(OSError):
            self._pipe.sendall(encode(order))

    def receive(self) -> Iterator[Report]:
        """The reports at hand. Raises WorkerGone after the last one."""
        try:
            data = self._pipe.recv(CHUNK)
        except OSError:
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        yield from map(decode, lines)
        if not data:
            raise WorkerGone(self._ending())

    def kill(self) -> None:
        """End the whole process group at once."""
        with contextlib.suppress(
            ProcessLookupError
        ):  # until it is waited for, the leader's zombie keeps the id
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._pipe.close()

    def _ending(self) -> str:
        """How the process ended; what it started is swept up with it."""
        leader = os.pidfd_open(self._process.pid)
        select.select([leader], [], [], PATIENCE)
        os.close(leader)
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
        setup = self._setup[slot.index]
        with theirs, (self._logs / f"worker-{slot.index}.log").open("ab") as log:
            process = subprocess.Popen(
                [*self._command, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                env={**os.environ, **worker_environment(slot, setup.threads)},
            )
        worker = LocalWorker(process, ours)
        worker.send(setup)
        return worker

    def wait(self, workers: Sequence[Worker], timeout: float) -> Sequence[Worker]:
        """The workers with something to receive."""
        with selectors.DefaultSelector() as selector:
            for worker in workers:
                assert isinstance(worker, LocalWorker)
                selector.register(worker, selectors.EVENT_READ)
            return [key.fileobj for key, _ in selector.select(timeout)]  # type: ignore[misc]


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
