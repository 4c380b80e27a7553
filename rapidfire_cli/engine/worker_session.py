"""A session with one worker without a scheduler: one order at a time, one report for each."""

import math
import time

from rapidfire_cli.engine.messages import Order, Ready, Report
from rapidfire_cli.engine.ports import Backend, Slot, Worker, WorkerGone

POLL_INTERVAL = 1.0  # seconds between two polls of an idle pipe (assumed; any length works)


class WorkerSession:
    """Asks a worker on `slot`, and starts a new one if it ended; call `close` at the end."""

    def __init__(self, backend: Backend, slot: Slot) -> None:
        self._backend = backend
        self.slot = slot
        self._worker: Worker | None = None

    def ask(self, order: Order, within: float = math.inf) -> Report:
        """Send an order and return the report that answers it.

        Raises WorkerGone, also for a worker that does not answer `within` this many seconds, and is ended.
        """
        worker = self._worker = self._worker or self._backend.start(self.slot)
        worker.send(order)
        try:
            return self._answer(worker, time.monotonic() + within)
        except WorkerGone:
            self.close()
            raise

    def close(self) -> None:
        """End the worker, if there is one."""
        if self._worker:
            self._worker.kill()
        self._worker = None

    def _answer(self, worker: Worker, end: float) -> Report:
        while (left := end - time.monotonic()) > 0:
            for speaking in self._backend.wait([worker], min(POLL_INTERVAL, left)):
                for report in speaking.receive():
                    if not isinstance(report, Ready):
                        return report
        raise WorkerGone("took too long")
