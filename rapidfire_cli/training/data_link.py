"""What a worker and its data workers say to each other: pickled records over a socket pair."""

import errno
import mmap
import pickle
import socket
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rapidfire_cli.engine.local.heartbeat import SIZE
from rapidfire_cli.engine.messages import Assignment, Setup
from rapidfire_cli.terms import Split
from rapidfire_cli.training.shared_batches import Placed

LENGTH = struct.Struct("!I")
CHUNK = 1 << 18  # bytes read at once (assumed)
DESCRIPTORS = 64  # read at once, at most: one a batch


@dataclass(frozen=True, slots=True)
class Begin:
    """The first message: what the worker was set up with, and where its modules were found."""

    setup: Setup
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Open:
    """Load the data of a run and initialise an MLSpec for it."""

    key: int
    assignment: Assignment


@dataclass(frozen=True, slots=True)
class Close:
    """The run is gone."""

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


@dataclass(frozen=True, slots=True)
class Release:
    """Nobody reads these segments any more."""

    segments: tuple[int, ...]


Request: TypeAlias = Begin | Open | Close | Task | Release


@dataclass(frozen=True, slots=True)
class Opened:
    """What the rows of the run depend on in this process; the worker compares it with its own."""

    key: int
    code: str
    data: str
    settings: Sequence[Any]


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
    """Why the batch of a task cannot be prepared: the parts of a Failure."""

    task: int
    kind: str
    cause: str
    traceback: str


Answer: TypeAlias = Opened | Refused | Done | Failed


class Page:
    """The shared page: the data worker writes it, the worker reads it."""

    STARTING, OPENING, WAITING = -3, -2, -1  # instead of a task
    JOINING = -1  # instead of a row

    def __init__(self, descriptor: int) -> None:
        self._cells = memoryview(mmap.mmap(descriptor, SIZE)).cast("q")

    def note(self, task: int, row: int = 0) -> None:
        """What is being worked at: a task, and a row's index in its split."""
        self._cells[0], self._cells[1] = task, row

    def row(self, row: int) -> None:
        """Another row of the same task."""
        self._cells[1] = row

    def read(self) -> tuple[int, int]:
        """The task and the row."""
        return self._cells[0], self._cells[1]


class Link:
    """One end of the socket pair; descriptors travel beside the messages."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = bytearray()
        self._descriptors: deque[int] = deque()

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._connection.fileno()

    def send(self, message: Request | Answer, descriptors: Sequence[int] = ()) -> None:
        """Send a message; waits for room. Raises OSError when the other end is gone."""
        body = pickle.dumps(message)
        data = memoryview(LENGTH.pack(len(body)) + body)
        sent = socket.send_fds(self._connection, [data], list(descriptors))
        self._connection.sendall(data[sent:])

    def receive(self) -> Iterator[Any]:
        """Wait for data, then the whole messages at hand. Raises OSError when the other end is gone."""
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
        """The next descriptor that came with a message."""
        return self._descriptors.popleft()

    def close(self) -> None:
        """Close the socket."""
        self._connection.close()
