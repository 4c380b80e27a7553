"""Leases: what makes certain that a worker on another node has ended, though the node does not answer.

Theory of operation
-------------------
The bridge polls each steward again and again; an answer comes within POLL seconds. A steward lives RENEWAL
seconds from the poll that it heard last, and so do its workers, whose guardians kill them when that time is
over, even if the steward is frozen. At most one poll is on its way. So if the last answer came at t, a later
poll was heard by t + RENEWAL or not at all, and all workers have ended by t + 2 * RENEWAL. After SILENCE
seconds without an answer the bridge reports them gone, and their runs may train elsewhere: no two workers
write one run.

A controller that is killed takes the bridge with it, and stewards and workers end soon or when their leases
do. Another fit of the experiment cannot ask them. So a fit on a cluster leaves a trace in the experiment's
directory, and removes it once all its workers have ended; one that finds a trace waits for SILENCE seconds.

Times are measured by clocks that count while a machine is suspended; none is compared between machines.
"""

from pathlib import Path

from rapidfire_cli.durable import disk, publication

POLL = 1.0  # seconds until a poll is answered at the latest (assumed)
RENEWAL = 5.0  # seconds that a steward and its workers live after a poll (assumed)
JOINING = 300.0  # seconds that a steward lives before the first poll; it has no workers yet (assumed)
SILENCE = 2 * RENEWAL + 1.0  # seconds without an answer after which a steward's workers have ended


def leave_trace(path: Path, secret: str) -> None:
    """Say that workers may be on a cluster from now on, which see the same file. Raises OSError."""
    publication.write(path, secret)


def remove_trace(path: Path) -> None:
    """Say that all workers have ended. Raises OSError."""
    disk.unlink(path)
