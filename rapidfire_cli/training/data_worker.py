"""A data worker: a process that prepares batches of rows ahead of the training of its worker.

Theory of operation. The worker starts it by exec, in the worker's process group, with the descriptors of a
socket and of a shared page of memory. It imports the MLSpec. For each run it loads the data and calls
`initialize_run`, as the worker did. Then it prepares the requested batches, one after the other, and writes
them into memory that the worker has mapped. A row is a function of the seed, the epoch, the split and its
index (`row_streams`), so any process prepares the same rows. The page says which row of which task is being
prepared, in case the process is killed.

It runs at a lower priority than the worker: when all processors are busy, a delayed training step costs time,
but a delayed batch ahead does not.

When the worker is gone, the kernel kills the process; it also ends when the socket is closed.
"""

import faulthandler
import gc
import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, assert_never

import torch

from rapidfire_cli.engine.local.guardian import end_with
from rapidfire_cli.engine.local.log_rotation import LOG
from rapidfire_cli.engine.messages import Assignment
from rapidfire_cli.terms import Split
from rapidfire_cli.training import opening, spec
from rapidfire_cli.training.batches import Uncached
from rapidfire_cli.training.data_link import (
    Begin,
    Close,
    Done,
    Failed,
    Link,
    Open,
    Opened,
    Page,
    Refused,
    Request,
    Task,
)
from rapidfire_cli.training.device import prepare
from rapidfire_cli.training.failure import blamed
from rapidfire_cli.training.log import keep_standard, logged
from rapidfire_cli.training.opening import Shared
from rapidfire_cli.training.row_source import Source, uncached
from rapidfire_cli.training.row_streams import THREADS, RowStreams
from rapidfire_cli.training.shadowing import forbid
from rapidfire_cli.training.shared_batches import Segments, packed
from rapidfire_cli.training.train_config import train_config

STDERR = 2
NICER = 5  # than the worker; measured: a sweep of random crops on two busy cores takes up to 8 % less time


class Noted(RowStreams):
    """Random streams of rows that also write each row's index to the page."""

    def __init__(self, streams: RowStreams, page: Page) -> None:
        super().__init__(streams.seed, streams.split, streams.own)
        self._page = page

    def row(self, index: int, epoch: int) -> None:
        """Seed the streams for a row."""
        self._page.row(index)
        super().row(index, epoch)

    def batch(self, number: int, epoch: int) -> None:
        """Seed the streams for joining the rows of a batch."""
        self._page.row(Page.JOINING)
        super().batch(number, epoch)


@dataclass(frozen=True, slots=True)
class Client:
    """A run for which batches are prepared."""

    assignment: Assignment
    rows: Mapping[Split, Uncached]


def main() -> None:
    """Answer requests until the worker is gone."""
    descriptor, page, parent = map(int, sys.argv[1:4])
    end_with(parent)
    os.nice(NICER)
    faulthandler.enable(STDERR)
    keep_standard()
    forbid()
    link = Link(socket.socket(fileno=descriptor))
    try:
        _serve(link, Page(page))
    except (ConnectionError, BrokenPipeError):
        os._exit(0)  # nothing here is worth waiting for


def _serve(link: Link, page: Page) -> None:
    requests = _requests(link)
    begin = next(requests)
    assert isinstance(begin, Begin)
    sys.path[:] = begin.path
    setup = replace(begin.setup, device="cpu", threads=THREADS, metrics=(), data_workers=0)
    prepare(setup)
    shared = opening.shared(setup, spec.load(setup.mlspec))
    gc.freeze()
    clients: dict[int, Client] = {}
    segments = Segments()
    page.note(Page.WAITING)
    for request in requests:
        match request:
            case Open():
                page.note(Page.OPENING)
                link.send(_opened(request, begin.setup.device, shared, clients, page))
                page.note(Page.WAITING)
            case Task():
                segments.release(request.read)
                page.note(request.number)
                if client := clients.get(request.key):  # otherwise its refusal was the answer
                    _work(request, client, shared, segments, link)
                page.note(Page.WAITING)
            case Close():
                if gone := clients.pop(request.key, None):
                    shared.settings.forget(gone.assignment.run)
            case Begin():
                raise AssertionError("the first message comes once")
            case _:
                assert_never(request)


def _requests(link: Link) -> Iterator[Request]:
    while True:
        yield from link.receive()


def _opened(
    request: Open, device: str, shared: Shared, clients: dict[int, Client], page: Page
) -> Opened | Refused:
    assignment = request.assignment
    its = train_config(json.loads(assignment.config))
    try:
        with _on_behalf(assignment, shared):
            torch.set_deterministic_debug_mode(its.determinism(device))
            loaded = shared.data.load(assignment.seed, json.loads(assignment.config))
            source = opening.sourced(assignment, loaded, {}, shared, "fit")
            settings = shared.settings.of_rows()
            rows = {split: _rows(split, source, page) for split in request.splits}
    except BaseException as error:  # anything that user code raises, including SystemExit
        return Refused(request.key, blamed(error).cause)
    clients[request.key] = Client(assignment, rows)
    found = {split: each.streams.own.paths for split, each in rows.items()}
    return Opened(request.key, shared.code, loaded.fingerprint, settings, found)


def _work(task: Task, client: Client, shared: Shared, segments: Segments, link: Link) -> None:
    rows = client.rows[task.split]
    try:
        with _on_behalf(client.assignment, shared):
            placed = segments.place(packed(rows.batch(list(task.rows), task.epoch, task.batch)))
    except BaseException as error:
        failure = blamed(error)
        link.send(Failed(task.number, failure.kind, failure.cause, failure.traceback))
        return
    descriptors = [] if placed.descriptor is None else [placed.descriptor]
    link.send(Done(task.number, placed), descriptors)
    for descriptor in descriptors:
        os.close(descriptor)


def _rows(split: Split, source: Source, page: Page) -> Uncached:
    """Return the rows of a split. This is slow: it searches the generators that they may draw from."""
    rows = uncached(split, source, torch.device("cpu"))
    return replace(rows, streams=Noted(rows.streams, page))


@contextmanager
def _on_behalf(assignment: Assignment, shared: Shared) -> Iterator[Any]:
    """Run the block with output to the run's log and under the run's settings."""
    with logged(Path(assignment.directory, LOG)), shared.settings.of(assignment.run):
        yield
