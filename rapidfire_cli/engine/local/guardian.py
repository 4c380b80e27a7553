"""Make a worker, and all processes that it starts, end with the controller, or when their lease ends.

The kernel kills the worker itself. What the worker started is killed by a guardian: a process of the worker's
group, forked before anything heavy is loaded, that waits for the controller's end and for nothing else. With
a lease, it also kills the whole group when that ends, though the worker or its controller may be frozen.
"""

import ctypes
import os
import select
import signal
from collections.abc import Callable
from typing import TypeAlias

PR_SET_PDEATHSIG = 1  # linux/prctl.h
MOST_DESCRIPTORS = 1 << 16  # assumed; a new worker has a handful


Left: TypeAlias = Callable[[], float | None]
"""How many seconds are left of a lease; None where there is none."""


def die_with(controller: int, left: Left = lambda: None) -> None:
    """Tie this process and its group to the controller and to a lease.

    Leave at once if the controller is gone already.
    """
    try:
        life = os.pidfd_open(controller)
    except ProcessLookupError:
        vanish()
    end_with(controller)
    _post_guardian(life, left)
    os.close(life)


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; leave at once if that is gone already."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the id may belong to another process by now
        vanish()


def vanish() -> None:
    """End at once: the controller is gone, and what is not durable will be redone."""
    os._exit(0)


def _post_guardian(life: int, left: Left) -> None:
    """Start the guardian with two forks, so that user code that waits for its children does not see it."""
    if child := os.fork():
        os.waitpid(child, 0)
        return
    if not os.fork():
        _guard(life, left)
    os._exit(0)


def _guard(life: int, left: Left) -> None:
    """Kill the group once the controller's descriptor turns readable, which it does when the controller ends.

    Or once the lease is over: it may have been renewed meanwhile, so it is looked at again. The worker's
    pipe and log are let go of: the guardian must not be taken for the worker.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.closerange(0, life)
    os.closerange(life + 1, MOST_DESCRIPTORS)
    while (rest := left()) is None or rest > 0:
        if select.select([life], [], [], rest)[0]:
            break
    os.killpg(0, signal.SIGKILL)
