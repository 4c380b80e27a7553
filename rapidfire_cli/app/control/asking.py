"""The client's side: hand a request to whoever holds the experiment's lock, or act under the lock oneself."""

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from rapidfire_cli.app.control.listener import address
from rapidfire_cli.app.control.offline import act
from rapidfire_cli.durable.lock import Held, holder_of, is_held
from rapidfire_cli.requests import Answer, Ask, Request, Source, decode_answers, encode
from rapidfire_cli.store.layout import ExperimentDir

PATIENCE = 2.0  # seconds to wait for a controller that says nothing
PAUSE = 0.05  # seconds between two attempts (assumed)


class Silent(Exception):  # noqa: N818 - what the other end is
    """Nobody answers at the socket."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a request."""

    answers: tuple[Answer, ...]
    live: bool  # whether a fit that is running answered


def new_request(ask: Ask, source: Source, if_state: str | None = None) -> Request:
    """A request that was never sent before."""
    return Request(str(uuid.uuid4()), source, ask, if_state)


def send(home: ExperimentDir, request: Request) -> Reply:
    """Have the request decided about.

    Raises Held when another process holds the lock and says nothing for 2 seconds. The same request may be
    sent again: it is carried out once.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if is_held(home.lock):
                return Reply(_answered(home, request), live=True)
            own = replace(request, uid=os.getuid(), pid=os.getpid())
            return Reply(act(home, own), live=False)
        except (Silent, Held):
            if time.monotonic() >= deadline:
                raise Held(holder_of(home.lock)) from None
            time.sleep(PAUSE)


def _answered(home: ExperimentDir, request: Request) -> tuple[Answer, ...]:
    """What the controller answers. Raises Silent, and ValueError when it does not understand."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        try:
            with address(home.control) as name:
                connection.connect(name)
            connection.sendall(f"{encode(request)}\n".encode())
            for line in _lines(connection):
                if "error" in line:
                    raise ValueError(line["error"])
                if "answers" in line:
                    return decode_answers(line["answers"])
        except OSError as error:
            if isinstance(error, PermissionError):
                raise
            raise Silent from None
    raise Silent  # the fit ended meanwhile


def _lines(connection: socket.socket) -> Iterator[dict[str, Any]]:
    """What the controller says, until it closes the connection; a fit that is starting says so."""
    with connection.makefile("rb") as lines:
        for line in lines:
            said: dict[str, Any] = json.loads(line)
            connection.settimeout(None if "starting" in said else PATIENCE)
            yield said
