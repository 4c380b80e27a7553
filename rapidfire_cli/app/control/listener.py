"""The controller's end of `control.sock`: a Unix socket in the experiment's directory, for its owner alone.

Theory of operation. A client connects, sends a request as one line of JSON, and reads lines until one has
answers. `pending` and `reply` never block: what has not arrived, or cannot be sent yet, waits for the next
call. The kernel says who the client is, so a request cannot claim to be another user's.

The path of a Unix socket is short (108 bytes), and experiments may lie deep, so both ends name it through a
descriptor of its directory.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rapidfire_cli.durable import disk

MOST_CLIENTS = 64  # at once (assumed)
MOST_BYTES = 1 << 20  # of a request (assumed)
CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))


class Client:
    """A connection, and what has arrived and is to be sent."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        self.pid, self.uid, _ = CREDENTIALS.unpack(credentials)
        self.asked = False  # whether its request was handed over
        self.done = False  # whether nothing more is to be said to it
        self._connection = connection
        self._heard = bytearray()
        self._unsent = bytearray()

    def line(self) -> bytes | None:
        """The request, once it has arrived. Raises OSError when the client is gone, or sends too much."""
        with contextlib.suppress(BlockingIOError):
            while b"\n" not in self._heard:
                data = self._connection.recv(MOST_BYTES)
                if not data or len(self._heard) > MOST_BYTES:
                    raise ConnectionResetError
                self._heard += data
        line, end, _ = bytes(self._heard).partition(b"\n")
        return line if end else None

    def say(self, line: str, last: bool = True) -> None:
        """Send a line as soon as it can be sent; after the `last`, the connection is closed."""
        self._unsent += f"{line}\n".encode()
        self.done |= last

    def push(self) -> bool:
        """Send what can be sent now; whether all is. Raises OSError when the client is gone."""
        with contextlib.suppress(BlockingIOError):
            while self._unsent:
                del self._unsent[: self._connection.send(self._unsent)]
        return not self._unsent

    def push_quietly(self) -> None:
        """Send what can be sent now; that a client is gone is noticed later."""
        with contextlib.suppress(OSError):
            self.push()

    def close(self) -> None:
        self._connection.close()


class Listener:
    """Listens on a socket that `listening` has made."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self._clients: list[Client] = []

    def pending(self) -> Sequence[tuple[Client, bytes]]:
        """The clients whose request has arrived since the last call, and their requests."""
        self._accept()
        found = []
        for client in [*self._clients]:
            try:
                if not client.asked and (line := client.line()) is not None:
                    client.asked = True
                    found.append((client, line))
                if client.push() and client.done:
                    self._drop(client)
            except OSError:
                self._drop(client)
        return found

    def close(self) -> None:
        """Close every connection; clients whose request was not answered see that, and ask elsewhere."""
        for client in [*self._clients]:
            client.push_quietly()
            self._drop(client)
        self._server.close()

    def _accept(self) -> None:
        while len(self._clients) < MOST_CLIENTS:
            try:
                connection, _ = self._server.accept()
            except OSError:  # nobody waits, or nobody any more
                return
            self._clients.append(Client(connection))

    def _drop(self, client: Client) -> None:
        client.close()
        self._clients.remove(client)


@contextmanager
def listening(path: Path) -> Iterator[Listener]:
    """Make the socket at `path`, which only the holder of the experiment's lock may do. Raises OSError."""
    disk.unlink(path)  # of a controller that was killed
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        os.fchmod(server.fileno(), 0o600)  # the file has its mode as soon as it exists
        with address(path) as name:
            server.bind(name)
        server.listen(MOST_CLIENTS)
        server.setblocking(False)
        listener = Listener(server)
        try:
            yield listener
        finally:
            listener.close()
            with contextlib.suppress(OSError):
                disk.unlink(path)


@contextmanager
def address(path: Path) -> Iterator[str]:
    """A short name of a file in the same directory. Raises OSError."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
