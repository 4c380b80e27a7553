"""The messages between a worker and its data workers: pickled records over a socket pair."""

import errno
import mmap
import pickle
import socket
import struct
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rapidfire_cli.engine.local.heartbeat import SIZE
from rapidfire_cli.engine.messages import Assignment, Setup
from rapidfire_cli.terms import Split
from rapidfire_cli.training.shared_batches import Placed

LENGTH = struct.Struct("!I")
CHUNK = 1 << 18  # bytes read at once (assumed)
DESCRIPTORS = 64  # the most that are read at once: one per batch


@dataclass(frozen=True, slots=True)
class Begin:
    """The first message: the worker's setup and its module search path."""

    setup: Setup
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Open:
    """Load the data of a run and initialise an MLSpec for it, to prepare rows of these splits."""

    key: int
    assignment: Assignment
    splits: tuple[Split, ...]


@dataclass(frozen=True, slots=True)
class Close:
    """Forget the run."""

    key: int


@dataclass(frozen=True, slots=True)
class Task:
    """Prepare a batch."""

    number: int  # of the task
    key: int  # of the run
    split: Split
    epoch: int
    batch: int  # its number in the epoch
    rows: tuple[int, ...]  # indices
    read: tuple[int, ...] = ()  # segments that can be reused; a message of their own would wake the process


Request: TypeAlias = Begin | Open | Close | Task


@dataclass(frozen=True, slots=True)
class Opened:
    """The hashes and settings on which the run's rows depend; the worker compares them with its own."""

    key: int
    code: str
    data: str
    settings: Sequence[Any]
    generators: Mapping[Split, Sequence[str]]  # the paths of those that rows are seeded for


@dataclass(frozen=True, slots=True)
class Refused:
    """The run could not be opened."""

    key: int
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """The batch of a task."""

    task: int
    placed: Placed


@dataclass(frozen=True, slots=True)
class Failed:
    """The batch of a task cannot be prepared; the fields are those of a Failure."""

    task: int
    kind: str
    cause: str
    traceback: str


Answer: TypeAlias = Opened | Refused | Done | Failed


class Page:
    """The shared page of memory: the data worker writes it, the worker reads it."""

    STARTING, OPENING, WAITING = -3, -2, -1  # written in place of a task
    JOINING = -1  # written in place of a row

    def __init__(self, descriptor: int) -> None:
        self._cells = memoryview(mmap.mmap(descriptor, SIZE)).cast("q")

    def note(self, task: int, row: int = 0) -> None:
        """Write the task being worked on, and the row's index in its split."""
        self._cells[0], self._cells[1] = task, row

    def row(self, row: int) -> None:
        """Write the index of the next row of the same task."""
        self._cells[1] = row

    def read(self) -> tuple[int, int]:
        """Return the task and the row."""
        return self._cells[0], self._cells[1]


class Link:
    """One end of the socket pair; file descriptors are sent beside the messages."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = bytearray()
        self._descriptors: deque[int] = deque()

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._connection.fileno()

    def send(self, message: Request | Answer, descriptors: Sequence[int] = ()) -> None:
        """Send a message; block while the socket is full. Raises OSError if the other end is gone."""
        body = pickle.dumps(message)
        data = memoryview(LENGTH.pack(len(body)) + body)
        sent = socket.send_fds(self._connection, [data], list(descriptors))
        self._connection.sendall(data[sent:])

    def receive(self) -> Iterator[Any]:
        """Wait for data and yield all complete messages. Raises OSError if the other end is gone."""
        data, descriptors, _, _ = socket.recv_fds(self._connection, CHUNK, DESCRIPTORS)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "the other end is closed")
        self._rest += data
        self._descriptors.extend(descriptors)
        while len(self._rest) >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._rest)
            if len(self._rest) < LENGTH.size + size:
                return
            body = bytes(self._rest[LENGTH.size : LENGTH.size + size])
            del self._rest[: LENGTH.size + size]
            yield pickle.loads(body)

    def descriptor(self) -> int:
        """Return the next descriptor that was received with a message."""
        return self._descriptors.popleft()

    def close(self) -> None:
        """Close the socket."""
        self._connection.close()
