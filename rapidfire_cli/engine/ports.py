"""What the engine needs of later stages and of the outside, as Protocols; `app` hands the objects over."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from rapidfire_cli.engine.jobs import Job
from rapidfire_cli.engine.messages import Assignment, Order, Report
from rapidfire_cli.facts import Fact
from rapidfire_cli.terms import Run


@dataclass(frozen=True, slots=True)
class Slot:
    """Room for one process to train."""

    index: int  # 0, 1, …
    device: str  # "cpu", or "cuda:0": the worker sees no GPU but its own
    visible: str  # CUDA_VISIBLE_DEVICES for the worker; empty on the CPU
    share: float  # of the device's free memory that runs at rest may fill
    host: str = ""  # its machine; empty for this one
    withdrawn: bool = False  # its machine is about to go, or gone


def gpus_of(slots: Sequence[Slot]) -> int:
    """The GPUs of the machine among these that has most; 0 on the CPU."""
    machines = groupby(slots, lambda slot: slot.host)
    return max((len({slot.visible for slot in machine} - {""}) for _, machine in machines), default=0)


class Journal(Protocol):
    """The single writer of what happened."""

    def take(self, facts: Sequence[Fact]) -> None:
        """Note the facts, as of now; the next `commit` makes all that was taken durable."""

    def commit(self) -> None:
        """Make durable what was taken, all or none."""


class Audience(Protocol):
    """Who is told what happened, after it is durable."""

    def tell(self, facts: Sequence[Fact]) -> None:
        """Show the facts; called with an empty sequence now and then so that clocks move."""


@dataclass(frozen=True, slots=True)
class NoRetry:
    """A run that runs out of memory is not tried again with another config."""

    cause: str = ""  # empty where the file does not ask for retries


class Admission(Protocol):
    """The one way in for runs that are born during a fit.

    A run is proposed first: as the `retry` of one that ran out of memory, or among the `proposals`, which
    follow from results. These are durable before `admit` lists it in the manifest, durably. Only then do the
    scheduler, the journal and the audiences learn of it: a run of which anything is known can always be
    rebuilt from the files.
    """

    @property
    def is_open(self) -> bool:
        """Whether there may be more proposals, though nothing is left to train."""

    def proposals(self) -> Sequence[Run]:
        """The runs to be trained from now on, each once; asked again and again, so it must not block."""

    def committed(self) -> None:
        """Take in that all that has happened so far is durable. Raises OSError."""

    def bracket_of(self, run: Run) -> int | None:
        """The bracket that the proposed run joins, if any."""

    def retry(self, run: int) -> Run | NoRetry:
        """The run that would take this one's place after it ran out of memory."""

    def admit(self, run: Run) -> Assignment:
        """List the run in the manifest; that is durable when this returns. Raises OSError."""


class Fleet(Protocol):
    """The runs of a fit, as far as a request may change what becomes of them."""

    def note(self, facts: Sequence[Fact]) -> None:
        """Keep the facts, in the order in which they happen."""

    def record(self, facts: Sequence[Fact] = ()) -> None:
        """Keep the facts; they, and all that was noted before, are durable when this returns."""

    def stop_run(self, run: int, at_once: bool) -> bool:
        """Stop the run, `at_once` even if its worker must be killed; False if the fit does not train it."""

    def resume_run(self, run: int) -> bool:
        """Train the run on, or do not stop it after all; False if the fit does not know it."""

    def enlist(self, job: Job) -> None:
        """Train a run that the fit did not know."""

    def keep_next(self, run: int) -> bool:
        """Make the run's next epoch end durable for good; False if the fit does not train it."""

    def admit(self, run: Run) -> None:
        """List a new run in the manifest, durably, and train it."""


class Requests(Protocol):
    """What people ask for during a fit. Nothing here blocks."""

    @property
    def is_open(self) -> bool:
        """Whether to wait for requests when nothing is left to train."""

    def defer(self) -> None:
        """Take in what was asked, before the fit can serve it."""

    def serve(self, fleet: Fleet) -> None:
        """Carry out what was asked, and answer."""

    def settle(self, fleet: Fleet) -> None:
        """Complete what was asked for earlier, as far as it can be done now."""

    def learn(self, facts: Sequence[Fact]) -> None:
        """Take in what happened."""


class BackendGone(Exception):  # noqa: N818 - an event, past tense
    """No worker can be had any more, and none of those there were is left; the argument says why."""


class WorkerGone(Exception):  # noqa: N818 - an event, past tense
    """The worker's process ended; its argument says how."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How far a worker is."""

    marks: int  # how often it moved on: any change is progress
    step: int  # optimizer steps of the run that it trained last


class Worker(Protocol):
    """A process that owns a slot and stays alive from run to run, wherever it is."""

    def send(self, order: Order) -> None:
        """Hand over an order, without waiting; `receive` reports when the worker is gone."""

    def receive(self) -> Iterator[Report]:
        """The reports at hand, without waiting. Raises WorkerGone after the last one."""

    def heartbeat(self) -> Heartbeat:
        """How far it is, as far as is known here; also when it is gone."""

    def dump(self) -> None:
        """Have it write its stack traces to the log of the run that it trains, even while it hangs."""

    def kill(self) -> None:
        """End the process and its children at once; does nothing when they are gone."""


class Backend(Protocol):
    """Where workers come from: offers slots, opens workers on them, and keeps what they print to a size."""

    @property
    def slots(self) -> Sequence[Slot]:
        """The slots that it offers; the index of each is its place in the sequence.

        Those of one machine are neighbours. It is another sequence once machines have joined or are about to
        go: new slots follow, and none is ever taken out.
        """

    def start(self, slot: Slot) -> Worker:
        """Start a worker on the slot; its first report is Ready."""

    def wait(self, workers: Sequence[Worker], timeout: float) -> Sequence[Worker]:
        """The workers with something to receive, after at most `timeout` seconds; empty when none has.

        Raises BackendGone.
        """
