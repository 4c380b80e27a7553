"""Processes of the tool, forked from one that has imported torch; each is used like a subprocess.Popen."""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

TEMPLATE = Path(__file__).with_name("template.py")
ROOT = Path(__file__).parents[2]
WORKER, DATA_WORKER = "worker", "data worker"
LONGEST = 64  # bytes of a number


class Forked:
    """A process of the tool; what is not given of its stdout and stderr are pipes, and stdin is empty.

    `compiles` says that it will import torch's compiler; of the tool that is known. Workers and data workers
    are passed their descriptors. The process may begin a session.
    """

    returncode: int | None = None

    def __init__(
        self,
        words: tuple[str, ...],
        cwd: Path,
        environment: Mapping[str, str],
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        compiles: bool = False,
        passed: Sequence[int] = (),
        session: bool = False,
    ) -> None:
        asked = {"words": words, "cwd": str(cwd), "environment": dict(environment), "session": session}
        request = json.dumps(asked).encode()
        self.stdout, out = _out(stdout)
        self.stderr, err = _out(stderr)
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with open(os.devnull) as nothing, out, err, theirs:  # noqa: PTH123
            standard = [nothing.fileno() if stdin is None else stdin, out.fileno(), err.fileno()]
            template = _with_compiler() if compiles or _compiles(words, cwd) else _template()
            socket.send_fds(template, [request], [*standard, theirs.fileno(), *passed])
        self.pid = int(self._line.recv(LONGEST))

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._line], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("rapidfire", timeout or 0)
            with self._line:
                self.returncode = int(self._line.recv(LONGEST))
        return self.returncode

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        if self.returncode is None and select.select([self._line], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        """Everything that it prints from now on, until it has ended."""
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.append(_rest(self.stderr)))
        reader.start()
        printed = _rest(self.stdout)
        reader.join()
        self.wait()
        return printed, said[0]

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """With SIGKILL."""
        self.send_signal(signal.SIGKILL)


def worker(
    _command: Sequence[str],
    *,
    env: Mapping[str, str],
    stdin: int,
    stdout: IO[bytes],
    stderr: IO[bytes],
    pass_fds: Sequence[int],
    process_group: int,
) -> Forked:
    """Start a worker as subprocess.Popen would, with `stdin` empty and in a group of its own.

    It has imported torch's compiler, with which it looks at models that are not made.
    """
    assert stdin == subprocess.DEVNULL and process_group == 0
    out, err = stdout.fileno(), stderr.fileno()
    return Forked((WORKER,), Path.cwd(), env, stdout=out, stderr=err, compiles=True, passed=pass_fds)


def data_worker(
    _command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: int,
    stdout: int,
    stderr: int,
    pass_fds: Sequence[int],
) -> Forked:
    """Start a data worker as subprocess.Popen would, with `stdin` empty."""
    assert stdin == subprocess.DEVNULL
    return Forked((DATA_WORKER,), cwd, env, stdout=stdout, stderr=stderr, passed=pass_fds)


def output(script: str) -> str:
    """What a script prints in a process of its own, where torch is imported."""
    process = Forked(("-c", script), Path.cwd(), os.environ)
    printed, said = process.communicate()
    assert process.returncode == 0, said
    return printed


def _out(given: int | None) -> tuple[IO[str] | None, IO[bytes]]:
    """Where to read what it prints, unless that goes where it is given, and where to print it."""
    if given is not None:
        return None, open(given, "wb", closefd=False)
    ends = os.pipe()
    return open(ends[0], encoding="utf-8"), open(ends[1], "wb")  # noqa: PTH123


def _rest(stream: IO[str] | None) -> str:
    if stream is None or stream.closed:
        return ""
    with stream:
        return stream.read()


@cache
def _template() -> socket.socket:
    """The way to ask this process's template, which ends with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pools = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    process = subprocess.Popen(
        [sys.executable, "-P", str(TEMPLATE), str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        env={**os.environ, **pools, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"},
        cwd="/",
    )
    theirs.close()

    @atexit.register
    def end() -> None:
        ours.close()
        process.wait()

    return ours


def _compiles(words: tuple[str, ...], cwd: Path) -> bool:
    """Whether it will import torch's compiler: to estimate memory, or to train on several devices.

    So does a clone with a warm start, but a fit that it is meant for does not wait for a template to start.
    """
    if words[:1] == ("check",):
        return "--static" not in words
    files = [cwd / word for word in words if word.endswith(".yaml")]
    return any(file.is_file() and b"gpus" in file.read_bytes() for file in files)


@cache
def _with_compiler() -> socket.socket:
    """The way to ask a template that has imported the compiler, too."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, Path(os.devnull).open("r+b") as nothing:
        unused = [nothing.fileno()] * 3
        socket.send_fds(_template(), [json.dumps({"words": None}).encode()], [*unused, theirs.fileno()])
    ours.recv(LONGEST)  # its id
    return ours
