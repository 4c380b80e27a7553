"""What the controller, the bridge and the stewards say to each other, as lines.

A message between the controller and a worker is relayed as it is, behind the worker's number and a space: it
is decoded only where it arrives. What concerns a worker or a node itself is a record.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, cast

from rapidfire_cli.engine.messages import Setup
from rapidfire_cli.engine.ports import Slot
from rapidfire_cli.records import by_name, from_plain, to_plain
from rapidfire_cli.terms import Objective

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
"""The environment variables that say how Ray authenticates; it reads them when it is imported."""


@dataclass(frozen=True, slots=True)
class Connect:
    """The first line to the bridge: which cluster to use, and what its nodes must have in common with us."""

    address: str  # "auto", "local", or host:port
    directory: str  # the working directory
    trace: str  # a file in the experiment's directory that holds `secret`
    secret: str
    versions: tuple[tuple[str, str], ...]  # of Python and the packages on which results depend
    insecure: bool = False  # whether a cluster that lets anyone in is accepted
    workers: int | None = None  # on the whole cluster; None for as many as fit
    threads: int | None = None  # CPU threads of each worker; None for the default
    gpus: int | None = None  # on the whole cluster, 0 to train on CPUs; None for all
    runs_per_gpu: int = 1
    command: tuple[str, ...] = ()  # that starts a worker; () for the node's own


@dataclass(frozen=True, slots=True)
class Start:
    """Start a worker."""

    worker: int
    slot: Slot
    setup: Setup


@dataclass(frozen=True, slots=True)
class Dump:
    """Have the worker write its stack traces."""

    worker: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End the worker at once; answered by Gone."""

    worker: int


@dataclass(frozen=True, slots=True)
class Joined:
    """A node offers slots, numbered after those that were offered before; `threads` is for each."""

    slots: tuple[Slot, ...]
    threads: int
    apart: bool = False  # whether it trains in a directory of its own, from which files are copied


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The node of these slots is about to go, or gone."""

    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Connected:
    """Every node that was there has been asked."""


@dataclass(frozen=True, slots=True)
class Beat:
    """How far a worker is."""

    worker: int
    marks: int
    step: int


@dataclass(frozen=True, slots=True)
class Gone:
    """A worker has ended, for certain."""

    worker: int
    cause: str


@dataclass(frozen=True, slots=True)
class Stored:
    """Something durable has changed on a node apart; fetch it before believing the next report."""

    worker: int
    run: int  # 0 for prepared files
    tree: str  # as `copies` calls it


@dataclass(frozen=True, slots=True)
class Printed:
    """Bytes that a worker on a node apart has added to a log."""

    path: str  # in the experiment's directory
    data: str  # in Base64


@dataclass(frozen=True, slots=True)
class Lost:
    """The cluster cannot be used, or no more; the bridge ends."""

    cause: str


Record: TypeAlias = (
    Connect | Start | Dump | Kill | Joined | Withdrawn | Connected | Beat | Gone | Stored | Printed | Lost
)

KINDS = by_name(
    (
        *(Connect, Start, Dump, Kill, Joined, Withdrawn, Connected, Beat, Gone, Stored, Printed, Lost),
        *(Slot, Setup, Objective),
    )
)


def line(record: Record) -> bytes:
    """The record as a line, without its end."""
    return json.dumps(to_plain(record)).encode()


def relayed(worker: int, message: bytes) -> bytes:
    """A message of a worker, or to one."""
    return b"%d %s" % (worker, message)


def read(lines: Iterable[bytes]) -> Iterator[Record | tuple[int, bytes]]:
    """The records, and the relayed messages with their workers. Raises ValueError, KeyError or TypeError."""
    for each in lines:
        if each.startswith(b"{"):
            yield cast("Record", from_plain(json.loads(each), KINDS))
        else:
            worker, _, message = each.partition(b" ")
            yield int(worker), message
