"""Ask one worker what only torch and the MLSpec know, without training anything."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from rapidfire_cli.app.devices import DeviceRequest, seats, setup
from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.experiments import LoadedExperiment
from rapidfire_cli.app.streams import debugging
from rapidfire_cli.engine.local.backend import WORKER, LocalBackend, log_of
from rapidfire_cli.engine.messages import Probe, Probed
from rapidfire_cli.engine.ports import WorkerGone
from rapidfire_cli.engine.worker_session import WorkerSession


@contextmanager
def interview(loaded: LoadedExperiment) -> Iterator[WorkerSession]:
    """Start one worker, without a cache of prepared rows, so that each run's reads are seen."""
    (slot, *_), threads = seats(loaded.file, DeviceRequest())
    setups = {slot.index: replace(setup(loaded, slot, threads), data_cache=0, disk_cache=0)}
    session = WorkerSession(LocalBackend([slot], WORKER, setups, loaded.home.misc), slot)
    try:
        yield session
    finally:
        session.close()


def probed(session: WorkerSession, loaded: LoadedExperiment, asked: Probe) -> Probed:
    """The worker's answer. Raises Unavailable if it ends before."""
    try:
        answer = session.ask(asked)
    except WorkerGone as gone:
        log = log_of(loaded.home.misc, session.slot.index)  # which is deleted in a moment
        said = log.read_text("utf-8", "replace").strip() if debugging(os.environ) else ""
        raise Unavailable(f"workers failed to start: the last one {gone}\n{said}".strip()) from None
    assert isinstance(answer, Probed)
    return answer
