"""The process that logs to trackers beside a fit: a thread for each, until standard input ends.

The fit holds the other end of standard input, so this process also notices that the fit was killed. The
trackers then have DRAIN seconds to catch up; a tracker that hangs does not delay the exit any longer.
"""

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from rapidfire_cli.app.tracking.follow import DRAIN, Follower
from rapidfire_cli.durable.lock import Held
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.terms import Tracker


def main(directory: str, *names: str) -> None:
    """Follow for these trackers."""
    with suppress(OSError):
        os.nice(19)  # training comes first
    followers = [Follower(ExperimentDir(Path(directory)), Tracker(name)) for name in names]
    threads = [threading.Thread(target=_follow, args=(each,), daemon=True) for each in followers]
    for thread in threads:
        thread.start()
    sys.stdin.buffer.read()
    deadline = time.monotonic() + DRAIN
    for each in followers:
        each.end()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    sys.stdout.flush()
    os._exit(0)  # does not wait for threads that hang


def _follow(each: Follower) -> None:
    with suppress(Held):  # `rapidfire track` does it meanwhile
        each.follow()


if __name__ == "__main__":
    main(*sys.argv[1:])
