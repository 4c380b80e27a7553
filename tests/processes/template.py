"""The process that processes of the tool are forked from: it has imported torch, and done nothing else.

A worker that is started anew imports torch for three seconds, which would be most of what a test costs.
Controllers and workers that are forked are processes all the same, with their own memory, group, descriptors,
signals and end; each begins with the modules that it would import, and with nothing that another has done.

`python -P template.py DESCRIPTOR` serves requests from a socket: what to run, with the descriptors of stdin,
stdout and stderr, and of a socket on which the process's id and, later, its exit code are written.
"""

import atexit
import ctypes
import faulthandler
import gc
import importlib
import io
import json
import os
import random
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

import pydantic
import sklearn.datasets
import sklearn.model_selection
import torch
import torchmetrics.classification
import typer._adapters
import typer.main

from rapidfire_cli import __main__ as tool
from rapidfire_cli import cli, worker
from rapidfire_cli.app.verbs import check, fit
from rapidfire_cli.engine.local import backend
from rapidfire_cli.training import data_pool, data_worker, dynamo, executor, shadowing
from tests.processes import forked

IMPORTED = (torch, torchmetrics.classification, typer.main, cli, check, fit, executor, shadowing)
OF_USERS = (sklearn.datasets, sklearn.model_selection)  # what specs/digits.py imports, which many tests train
OF_TYPER = (pydantic, typer._adapters)  # what it imports where an option has a value
COMPILING = (
    "torch._dynamo.source",
    "torch.fx.experimental.symbolic_shapes",
    "rapidfire_cli.training.gang",
    "rapidfire_cli.training.sharding",
)
OF_TESTS = [name for name in sys.modules if name.partition(".")[0] == "tests"]  # else code of the user's
INSTALLED = sys.path[:]
LARGEST = 1 << 16  # bytes of a request
STANDARD = 3  # descriptors
PASSED = 2  # descriptors of a data worker
HUGE = 1 << 21  # bytes of a huge page
MADV_COLLAPSE = 25  # linux/mman.h
THRESHOLDS = gc.get_threshold()


class Forked(subprocess.Popen[bytes]):
    """A worker that is forked where its controller would start another program; else as it would be."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], pass_fds: Sequence[int], **options: Any
    ) -> None:
        def begin() -> NoReturn:
            become(worker.main, ["-c", *command[4:]], env, pass_fds)

        super().__init__(command, pass_fds=pass_fds, preexec_fn=begin, **options)


def main() -> None:
    """Serve requests until the other end of the socket is closed."""
    dynamo.defer()
    for module, popen in ((backend, Forked), (data_pool, forked.data_worker)):
        module.subprocess = SimpleNamespace(Popen=popen, DEVNULL=subprocess.DEVNULL)  # type: ignore[attr-defined]
    gc.freeze()
    gc.collect()  # with nothing left to count, as in a process that has just begun
    collapse()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C ends the tests, and thereby this process
    serve(socket.socket(fileno=int(sys.argv[1])))


def collapse() -> None:
    """Put this process's memory into huge pages, as a fork copies a table of 80,000 small ones in 20 ms.

    Where the kernel cannot (before Linux 6.1), the memory stays as it is.
    """
    advise = ctypes.CDLL(None).madvise
    for region in Path("/proc/self/maps").read_text("utf-8").splitlines():
        place, access, _, _, _, *name = region.split(maxsplit=5)
        if access == "rw-p" and name in ([], ["[heap]"]):
            first, last = (int(end, 16) for end in place.split("-"))
            for page in range(-(-first // HUGE) * HUGE, last // HUGE * HUGE, HUGE):
                advise(ctypes.c_void_p(page), ctypes.c_size_t(HUGE), MADV_COLLAPSE)


def serve(requests: socket.socket) -> None:
    """Fork what is asked for, and tell its id and, later, its exit code.

    Processes that were forked ask by connections of their own, for one data worker each.
    """
    with selectors.DefaultSelector() as awaited, listening() as others:
        awaited.register(requests, selectors.EVENT_READ)
        awaited.register(others, selectors.EVENT_READ)
        while True:
            for key, _ in awaited.select():
                if key.data:
                    awaited.unregister(key.fd)
                    os.close(key.fd)
                    tell_end(*key.data)
                    continue
                if key.fileobj is others:
                    with others.accept()[0] as connection:
                        begun = begin(connection)
                elif not (begun := begin(requests)):
                    return
                if begun:
                    awaited.register(os.pidfd_open(begun[0]), selectors.EVENT_READ, begun)


def listening() -> socket.socket:
    """Where processes that are forked from now on ask for others."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind("")  # to a name that the kernel chooses; it is not one of a file
    listener.listen()
    name = listener.getsockname()

    def connect() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(name)
        return connection

    forked._template = connect  # type: ignore[assignment]
    return listener


def import_compiler() -> None:
    """Import torch's compiler, and what imports it: to estimate memory, and to train on several devices."""
    for name in COMPILING:
        importlib.import_module(name)
    gc.freeze()
    collapse()


def begin(requests: socket.socket) -> tuple[int, int] | None:
    """Fork the process that is asked for; its id, and the socket on which its end is told."""
    message, descriptors, *_ = socket.recv_fds(requests, LARGEST, STANDARD + 1 + PASSED)
    if not message:
        return None
    standard, line, passed = descriptors[:STANDARD], descriptors[STANDARD], descriptors[STANDARD + 1 :]
    if (pid := os.fork()) == 0:
        perform(json.loads(message), standard, line, passed)
    for descriptor in (*standard, *passed):
        os.close(descriptor)
    os.write(line, f"{pid}\n".encode())
    return pid, line


def tell_end(pid: int, line: int) -> None:
    """Say the exit code of a process that has ended, if anybody still listens."""
    _, status = os.waitpid(pid, 0)
    with suppress(BrokenPipeError):
        os.write(line, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os.close(line)


def perform(request: dict[str, Any], standard: Sequence[int], line: int, passed: Sequence[int]) -> NoReturn:
    """Be the process that is asked for, in one that was just forked."""
    if request["words"] is None:  # another template
        import_compiler()
        serve(socket.socket(fileno=line))
        os._exit(0)
    if request["session"]:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
    os.chdir(request["cwd"])
    match request["words"]:
        case ["-c", script, *words]:
            become(
                lambda: exec(script, vars(sys.modules["__main__"])), ["-c", *words], request["environment"]
            )
        case [forked.WORKER | forked.DATA_WORKER as kind]:
            if kind == forked.WORKER:
                os.setpgid(0, 0)
            main = worker.main if kind == forked.WORKER else data_worker.main
            ends = [str(number) for number in (*passed, os.getppid())]
            become(main, ["-c", *ends], request["environment"], passed)
        case words:
            become(tool.main, ["rapidfire", *words], request["environment"])


def become(
    run: Callable[[], None],
    words: Sequence[str],
    environment: Mapping[str, str],
    kept: Collection[int] = (),
) -> NoReturn:
    """Run as a program that was just started, and end as one."""
    _forget(kept)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [*words]
    own = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    sys.path[:] = [*own, *(place for place in INSTALLED if place not in own)]
    for name in OF_TESTS:
        sys.modules.pop(name, None)
    sys.modules["__main__"] = ModuleType("__main__")
    sys.modules.pop("__mp_main__", None)  # by which multiprocessing knows the template
    sys.stdin, sys.stdout, sys.stderr = (_stream(number) for number in range(STANDARD))
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    code = _code(run)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 120  # as the interpreter does
    os._exit(code)


def _forget(kept: Collection[int]) -> None:
    """Let go of what a new program does not inherit."""
    gc.freeze()  # nothing of the former program is finalized in this one
    gc.set_threshold(*THRESHOLDS)  # a controller has others
    atexit._clear()
    faulthandler.disable()
    signal.set_wakeup_fd(-1)
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    if not ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    last = STANDARD - 1
    for descriptor in sorted(kept):
        os.closerange(last + 1, descriptor)
        last = descriptor
    os.closerange(last + 1, os.sysconf("SC_OPEN_MAX"))
    random.seed()
    sys.modules["numpy"].random.seed()
    tempfile.tempdir = None


def _stream(number: int) -> io.TextIOWrapper:
    reads = number == 0
    raw = io.FileIO(number, "r" if reads else "w", closefd=False)
    buffer = io.BufferedReader(raw) if reads else io.BufferedWriter(raw)
    errors = "backslashreplace" if number == 2 else "strict"
    return io.TextIOWrapper(
        buffer, "utf-8", errors, line_buffering=number == 2 or raw.isatty(), write_through=False
    )


def _code(run: Callable[[], None]) -> int:
    """Run, and return the exit code."""
    try:
        run()
    except SystemExit as end:
        match end.code:
            case None:
                return 0
            case int(code):
                return code & 0xFF
            case said:
                print(said, file=sys.stderr)
                return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


if __name__ == "__main__":
    main()
