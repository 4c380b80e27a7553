"""The page in a cell of a notebook: a widget whose messages take the place of the page's server.

Theory of operation
-------------------
The kernel that runs the notebook's code answers its own front end, over the connection that the notebook has
anyway, so that no port is opened and nothing is let in that could not run code there already. The messages
are custom ones of an anywidget (https://anywidget.dev/en/afm/), in JSON:

    {client, follow: true}            a view opened: send a snapshot, then what changes
    {client, follow: false}           that view was closed
    {client, id, address}             read what is at an address of the page
    {client, id, ask: {verb, …}}      a request
    {kind, data, series?}             from the kernel: a message of `stream`, with the curves of a metric in a
                                      buffer; or a `beat`, which says that the kernel lives
    {client, id, status, found}       from the kernel: an answer; series are in a buffer

A thread follows the journal while a view is open, so that the panel is renewed while a cell is busy. A kernel
that is busy with a cell hears nothing, however: messages wait until the cell has ended. So the thread begins
when the panel is put into a cell, sends everything several times until a view is heard, because one that is
not yet there misses what is sent, and sends the objective's curves without being asked.

All views of a widget get all messages, hence the name that each client gives itself. Answers are worked out
by other threads: the kernel's own one is the user's.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import anywidget
import traitlets

from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.series import packed
from rapidfire_cli.view.page.experiment import Experiment, Found, Refused, answered
from rapidfire_cli.view.page.stream import LOOK, Follower, Sent

BEAT = 5.0  # seconds without a message after which one says that the kernel lives; the panel waits for 15
AGAIN: tuple[float, ...] = (1, 2, 4, 8, 16, 32)
"""Seconds until everything is sent again, as long as no view is heard."""
CELL = ""  # the client name of a cell's views until one is heard
ANSWERING = 2  # threads: one may wait for a fit's answer


class Panel(anywidget.AnyWidget):  # type: ignore[misc]
    """Shows an experiment in a cell, and steers it unless it is `read_only`."""

    read_only = traitlets.Bool().tag(sync=True)

    def __init__(self, experiment: Experiment, script: str, read_only: bool = False) -> None:
        super().__init__(_esm=script, read_only=read_only)
        self._find = partial(experiment.find, "")
        self._experiment = experiment
        self._obeys = not read_only  # what the front end says about itself does not count
        self._lock = threading.Lock()
        self._clients: set[str] = set()
        self._told: tuple[str, str] | None = None  # the metric whose curves were sent
        self._begun = 0  # views opened so far
        self._thread: threading.Thread | None = None  # that follows
        self._answering = ThreadPoolExecutor(ANSWERING, "rapidfire panel")
        self.on_msg(self._heard)

    def __repr__(self) -> str:
        """The text that a notebook shows where it cannot show the widget."""
        home = self._find()
        return f"<panel of {home.path.name if home else 'no experiment yet'}; run the cell to see it>"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """Begin to follow with the cell that shows it."""
        self._look(CELL, True)
        return super()._repr_mimebundle_(**options)

    def close(self) -> None:
        """Remove the panel from the notebook."""
        with self._lock:
            self._clients.clear()
        self._answering.shutdown(wait=False, cancel_futures=True)
        super().close()

    def _heard(self, _: object, content: object, _buffers: object) -> None:
        match content:
            case {"client": str(client), "follow": bool(looks)}:
                self._look(client, looks)
            case {"client": str(client), "id": int(number), "address": str(address)}:
                place, _, query = address.partition("?")
                read = partial(self._experiment.read, address=place, query=dict(parse_qsl(query)))
                self._answering.submit(self._answer, client, number, read)
            case {"client": str(client), "id": int(number), "ask": dict(body)}:
                self._answering.submit(self._answer, client, number, partial(self._asked, body=body))

    def _look(self, client: str, looks: bool) -> None:
        with self._lock:
            self._clients.discard(CELL)
            if not looks:
                self._clients.discard(client)
                return
            self._clients.add(client)
            self._begun += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._follow, name="rapidfire panel", daemon=True)
                self._thread.start()

    def _follow(self) -> None:
        """Send everything whenever a view opens, then what changes, until the last view closes."""
        follower, again = Follower(self._find), AGAIN
        begun, sent, due = 0, 0.0, 0.0
        try:
            while now_begun := self._looked():
                now = time.monotonic()
                if now_begun != begun or (again and now >= due and CELL in self._clients):
                    again = AGAIN if now_begun != begun else again[1:]
                    follower.close()
                    follower, begun, due = Follower(self._find), now_begun, now + (again[0] if again else 0)
                found = follower.look()
                if found is not None:
                    self._tell(found)
                    sent = now
                elif now - sent > BEAT:
                    self.send({"kind": "beat", "data": None})
                    sent = now
                time.sleep(LOOK)
        finally:
            follower.close()
            with self._lock:
                if self._thread is threading.current_thread():  # something was raised
                    self._thread = None

    def _tell(self, found: Sent) -> None:
        """Send the message, with the curves of the objective where the panel cannot have them."""
        message, metric = {"kind": found.kind, "data": found.data}, _objective(found)
        if metric and (found.kind == "snapshot" or metric != self._told) and (home := self._find()):
            with suppress(Refusal, OSError):  # the next message will say it
                series = packed(home.journal, *metric).encoded()
                self._told = metric
                self.send({**message, "series": metric}, [series])
                return
        self.send(message)

    def _looked(self) -> int:
        """The number of views opened so far; 0 if none is open, and the next one gets a new thread."""
        with self._lock:
            if not self._clients:
                self._thread = None
            return self._begun if self._clients else 0

    def _answer(self, client: str, number: int, work: Callable[[ExperimentDir], Found]) -> None:
        try:
            status, found = answered(self._find, work)
        except Exception as error:  # else the panel would wait for ever
            status, found = 500, {"error": f"internal error: {error!r}", "hint": "please report it"}
        packed = [found] if isinstance(found, bytes) else None
        document = None if isinstance(found, bytes) else found
        self.send({"client": client, "id": number, "status": status, "found": document}, packed)

    def _asked(self, home: ExperimentDir, body: Mapping[str, Any]) -> Found:
        if not self._obeys:
            raise Refused(403, "the panel is read-only (`panel(read_only=True)`)")
        return self._experiment.ask(home, {**body})


def _objective(found: Sent) -> tuple[str, str] | None:
    """The split and name of the objective's metric; None where the message's runs have no such value."""
    match found.data:
        case {"objective": {"split": str(split), "metric": str(name)}, "metrics": list(metrics)}:
            return (split, name) if [split, name] in metrics else None
    return None
