"""Messages over a socket pair; neither side waits for the other to read.

Theory of operation: `put` adds a line to the backlog, `push` hands the kernel as much of the backlog as it
takes, `pull` takes what has arrived. None of them blocks, so two ends that both have more to say than the
kernel's buffers hold cannot wait for each other: each goes on reading, and `wants` says what to poll for. The
backlog is bounded by what its owner has to say: orders by the number of runs, reports by the orders at hand.
"""

import errno
import select
import socket

CHUNK = 1 << 18  # bytes read at once (assumed; more than the kernel's buffer holds)


class Channel:
    """One end of a socket pair that carries lines."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._backlog = bytearray()  # to be sent
        self._rest = bytearray()  # received, without a complete line

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._connection.fileno()

    @property
    def wants(self) -> int:
        """The poll events that let the channel go on: always POLLIN, POLLOUT while there is a backlog."""
        return select.POLLIN | (select.POLLOUT if self._backlog else 0)

    @property
    def behind(self) -> bool:
        """Whether something that was put is not sent yet."""
        return bool(self._backlog)

    def put(self, line: bytes) -> None:
        """Add a whole line, its end included, to what `push` sends."""
        self._backlog += line

    def push(self) -> None:
        """Send what can be sent now. Raises OSError when the other end is gone."""
        while self._backlog:
            try:
                sent = self._connection.send(self._backlog, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            del self._backlog[:sent]

    def pull(self) -> list[bytes] | None:
        """The whole lines that arrived, None when nothing did. Raises OSError when the other end is gone."""
        try:
            data = self._connection.recv(CHUNK, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "the other end is closed")
        end = data.rfind(b"\n")
        if end < 0:
            self._rest += data
            return []
        whole, self._rest = bytes(self._rest) + data[:end], bytearray(data[end + 1 :])
        return whole.split(b"\n")

    def close(self) -> None:
        """Close the socket; unsent messages are dropped."""
        self._backlog.clear()
        self._connection.close()
