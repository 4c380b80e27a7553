"""A notebook's panel with a front end at the other end of its comm."""

import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from comm.base_comm import BaseComm

from rapidfire_cli.app.page import panel_of
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.view.page.panel import Panel

TIMEOUT = 20.0  # seconds, on a machine that does other work


class View:
    """A front end: it hears what the kernel sends, and sends messages of its own."""

    def __init__(self, panel: Panel, sent: "queue.Queue[Any]") -> None:
        self.panel, self.sent = panel, sent

    def say(self, **content: Any) -> None:
        data = {"method": "custom", "content": content}
        self.panel.comm.handle_msg({"content": {"data": data}, "buffers": []})

    def next(self, kind: str | None = None) -> tuple[dict[str, Any], list[bytes]]:
        """The next message, of this kind; without one, the next answer."""
        until = time.monotonic() + TIMEOUT
        while True:
            content, buffers = self.sent.get(timeout=max(0.01, until - time.monotonic()))
            if content.get("kind") == kind:
                return content, buffers

    def waiting(self) -> bool:
        """Whether a message came that was not looked at."""
        return not self.sent.empty()

    def ask(self, **content: Any) -> tuple[dict[str, Any], list[bytes]]:
        self.say(client="ada", id=7, **content)
        answer, buffers = self.next()
        assert (answer["client"], answer["id"]) == ("ada", 7)
        return answer, buffers


@contextmanager
def viewed(monkeypatch: pytest.MonkeyPatch, home: ExperimentDir, read_only: bool = False) -> Iterator[View]:
    """A panel of the experiment, and its view."""
    sent: queue.Queue[Any] = queue.Queue()

    class Wire(BaseComm):
        def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
            if msg_type == "comm_msg" and data["method"] == "custom":
                sent.put((data["content"], buffers or []))

    monkeypatch.setattr("comm.create_comm", Wire)
    panel = panel_of(home, read_only, ())
    try:
        yield View(panel, sent)
    finally:
        panel.close()
