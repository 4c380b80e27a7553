"""The worker process: owns a slot, executes orders one by one, and ends with its controller.

Theory of operation
-------------------
The controller starts one worker per open slot, with three arguments: the descriptor of a socket, that of a
page of memory which both share, and the controller's process id. Over the socket it receives a Setup and
then orders (Probe, Smoke, Use, Train, Evict, EndTurn, Quit), and sends reports back. The page holds a counter
that advances with each mark of training, by which the controller distinguishes a slow worker from one that
hangs.

The start has an order. First the worker asks the kernel to die with its controller. Then it waits for its
Setup, imports torch and the MLSpec, reports Ready, and serves orders until Quit. An MLSpec that cannot be
imported is a finding (`Probed`), not a crash.

Invariants:

- Orders are carried out one at a time and in order. EndTurn alone is looked for during a turn; one that
  comes after its turn is ignored.
- The worker never waits for the controller to read: what cannot be sent is kept, and orders are read
  meanwhile. So the two never wait for each other.
- When the controller is gone, the socket fails and the process ends at once. So it does when its lease is
  over, which the page shows for a worker on another machine.
- The executor does all training; nothing here depends on torch before the Setup has come.

Why this way: a process per slot is what isolates user code that crashes, hangs or runs out of memory. One
that serves many runs imports everything once; garbage is not collected during the import, and what was
imported is exempt from collection afterwards, as full collections would cost as much as a small run.
"""

import faulthandler
import gc
import math
import os
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import assert_never

from rapidfire_cli.durable import failpoints
from rapidfire_cli.engine.local.channel import Channel
from rapidfire_cli.engine.local.guardian import die_with, vanish
from rapidfire_cli.engine.local.heartbeat import DUMP, Page
from rapidfire_cli.engine.messages import (
    EndTurn,
    Evict,
    Order,
    Probe,
    Probed,
    Quit,
    Ready,
    Report,
    Setup,
    Smoke,
    Train,
    Use,
    decode,
    encode,
)

STDERR = 2  # the descriptor; what it leads to is the log of the run that trains
POST = 0.1  # seconds until reports are sent while a run trains, at most (assumed)


class Pipe:
    """The worker's end of the socket pair; reports are sent soon, and always before waiting.

    It never waits for the controller to read alone: while reports cannot go out, orders still come in.
    """

    def __init__(self, connection: socket.socket, clock: Callable[[], float] = time.monotonic) -> None:
        self._channel = Channel(connection)
        self._clock = clock
        self._poll = select.poll()
        self._orders: deque[Order] = deque()
        self._post_due = 0.0  # by the clock

    def tell(self, report: Report) -> None:
        """Send a report, together with those that follow at once: waking the controller costs time."""
        self._channel.put(encode(report))

    def next(self, spare: Callable[[bool], float | None] = lambda idle: None) -> Order:
        """The next order, waiting for it.

        `spare` may do something meanwhile: it is told whether the last wait was in vain, and says how many
        seconds the next may take, None for ever.
        """
        self._exchange()
        idle = False
        while not self._orders:
            pause = spare(idle)
            self._push()
            idle = not self._wait(pause)
        return self._orders.popleft()

    def stop_asked(self) -> bool:
        """Whether an EndTurn arrived, and remove it; never waits."""
        now = self._clock()
        if now >= self._post_due:
            self._push()
            self._post_due = now + POST
        self._pull()
        asked = any(isinstance(order, EndTurn) for order in self._orders)
        if asked:
            self._orders = deque(order for order in self._orders if not isinstance(order, EndTurn))
        return asked

    def flush(self) -> None:
        """Send all pending reports."""
        self._push()
        while self._channel.behind:
            self._wait()

    def _wait(self, seconds: float | None = None) -> bool:
        """Wait until something can be sent or received, and do so; False when that took too long."""
        self._poll.register(self._channel, self._channel.wants)
        ready = self._poll.poll(None if seconds is None else math.ceil(1000 * seconds))
        self._exchange()
        return bool(ready)

    def _exchange(self) -> None:
        self._push()
        self._pull()

    def _push(self) -> None:
        try:
            self._channel.push()
        except OSError:
            vanish()

    def _pull(self) -> None:
        try:
            self._orders.extend(map(decode, self._channel.pull() or ()))
        except OSError:
            vanish()


def main() -> None:
    """Execute orders until Quit."""
    descriptor, shared, controller = map(int, sys.argv[1:4])
    page = Page(shared)
    die_with(controller, lambda: page.left)
    faulthandler.enable(STDERR)
    faulthandler.register(DUMP, STDERR)
    failpoints.arm(os.environ)
    gc.disable()  # what is imported stays; a seventh of the start went into looking for garbage there
    pipe = Pipe(socket.socket(fileno=descriptor))
    setup = pipe.next()
    assert isinstance(setup, Setup)
    _serve(setup, pipe, page)
    pipe.flush()


def marker(page: Page) -> Callable[[int], None]:
    """What reports progress; with a lease, it ends the process once that is over."""

    def mark(step: int) -> None:
        page.mark(step)
        if (left := page.left) is not None and left <= 0:
            vanish()

    return page.mark if page.left is None else mark


def _serve(setup: Setup, pipe: Pipe, page: Page) -> None:
    from rapidfire_cli.training.log import keep_standard

    keep_standard()
    from rapidfire_cli.training.device import prepare
    from rapidfire_cli.training.executor import Executor, SpecProblem
    from rapidfire_cli.training.shadowing import forbid, merged

    forbid()
    sys.path[:] = merged(sys.path, setup.path)
    ready = prepare(setup)
    try:
        executor = Executor(setup, pipe.tell, pipe.stop_asked, marker(page), room=ready[1])
    except SpecProblem as problem:
        pipe.tell(Probed((problem.finding,)))
        return
    gc.freeze()  # measured: one full collection cost as much as a small run
    gc.enable()
    executor.start()
    pipe.tell(Ready(os.getpid(), *ready))
    while True:
        match order := pipe.next(executor.spare):
            case Probe():
                pipe.tell(executor.probe(order))
            case Smoke():
                pipe.tell(executor.smoke(order))
            case Use():
                pipe.tell(executor.use(order))
            case Train():
                executor.train(order)
            case Evict():
                executor.evict(order)
            case Quit():
                executor.close()
                return
            case EndTurn() | Setup():  # a turn that ended before its EndTurn came; nothing is left to end
                continue
            case _:
                assert_never(order)


if __name__ == "__main__":
    main()
