"""A live fit takes requests: from its socket to `Steering`, and the answers back."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from rapidfire_cli.app.control.listener import Client, Listener, listening
from rapidfire_cli.app.control.steering import Steering
from rapidfire_cli.engine.ports import Fleet
from rapidfire_cli.facts import Fact
from rapidfire_cli.records import to_plain
from rapidfire_cli.requests import decode_request
from rapidfire_cli.store.layout import ExperimentDir

LOOK_INTERVAL = 0.02  # seconds between two looks for requests (assumed; at every report: 5 % of the CPU)


@contextmanager
def taking_requests(home: ExperimentDir, stays: bool) -> Iterator["Serving"]:
    """Take requests while inside; a file system without sockets costs them, and a warning."""
    with ExitStack() as stack:
        listener = None
        try:
            listener = stack.enter_context(listening(home.control))
        except OSError as error:
            print(f"warning: runs cannot be steered: {home.control}: {error.strerror}", file=sys.stderr)
        yield Serving(listener, stays)


class Serving:
    """Requests that come over a socket; they wait until `begin` says where the runs are."""

    def __init__(self, listener: Listener | None, stays: bool) -> None:
        """`stays`: whether the fit waits for requests when nothing is left to train."""
        self._stays = stays
        self._listener = listener
        self._steering: Steering | None = None
        self._waiting: list[tuple[Client, bytes]] = []
        self._look_due = 0.0  # by the clock

    @property
    def is_open(self) -> bool:
        """Whether to wait for requests, or for what a clone begins with."""
        return self._stays or (self._steering is not None and self._steering.awaits)

    def begin(self, steering: Steering) -> None:
        """From now on requests can be carried out."""
        self._steering = steering

    def defer(self) -> None:
        """Take in what was asked while workers start, and say so."""
        for client, line in self._asked():
            client.say(json.dumps({"starting": True}), last=False)
            self._waiting.append((client, line))

    def serve(self, fleet: Fleet) -> None:
        """Carry out what was asked, and answer."""
        self.settle(fleet)
        waiting, self._waiting = self._waiting, []
        for client, line in (*waiting, *self._asked()):
            client.say(self._answer(client, line, fleet))
            client.push_quietly()

    def settle(self, fleet: Fleet) -> None:
        """Complete what was asked for earlier, as far as it can be done now."""
        if self._steering:
            self._steering.settle(fleet)

    def learn(self, facts: Sequence[Fact]) -> None:
        """Take in what happened."""
        if self._steering:
            self._steering.learn(facts)

    def _asked(self) -> Sequence[tuple[Client, bytes]]:
        """What was asked since the last look."""
        if self._listener is None or (now := time.monotonic()) < self._look_due:
            return ()
        self._look_due = now + LOOK_INTERVAL
        return self._listener.pending()

    def _answer(self, client: Client, line: bytes, fleet: Fleet) -> str:
        assert self._steering
        try:
            request = decode_request(line)
        except ValueError as error:
            return json.dumps({"error": str(error)})
        answers = self._steering.handle(replace(request, uid=client.uid, pid=client.pid), fleet)
        return json.dumps({"answers": to_plain(answers)})
