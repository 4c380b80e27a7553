"""What a driver is given to train, and how it can end."""

from dataclasses import dataclass

from rapidfire_cli.engine.messages import Assignment
from rapidfire_cli.facts import RunFailed
from rapidfire_cli.schedule import events
from rapidfire_cli.schedule.state import RunEntry
from rapidfire_cli.stopping.rule import Policy


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long the driver waits, in seconds."""

    hang_timeout: float | None = None  # for a turn's next step; None for ever
    grace: float = 30.0  # for what is trained to become durable after a stop was asked for


@dataclass(frozen=True, slots=True)
class Job:
    """A run to be trained, and how far it is already durable."""

    assignment: Assignment
    goal: int  # ticks
    durable: int = 0  # ticks
    epoch: int = 0  # finished ones that are journaled
    gang: int = 1  # slots that it needs at once


def entry(job: Job) -> events.NewRun:
    """The job as the scheduler knows it."""
    return events.NewRun(job.assignment.run, job.goal, job.durable, job.gang)


def unplaced(run: RunEntry, slots: int) -> RunFailed:
    """Why a run that is given up never got a turn."""
    beyond = f"it needs {run.gang} devices at once, and there are {slots}"
    return RunFailed(run.run, "died", beyond if run.gang > slots else "no worker could be started", 0)


@dataclass(frozen=True, slots=True)
class Bracket:
    """Runs that an early-stopping rule compares, as far as they are to be trained."""

    number: int  # 1, 2, …
    policy: Policy  # that knows the past
    metric: str
    entries: tuple[events.NewRun, ...]


class CodeChanged(Exception):  # noqa: N818 - what happened
    """A worker that came up later has imported other code: the run, the code before, the code now (JSON)."""


class Paused(Exception):  # noqa: N818 - what became of the experiment
    """The disk refuses what must be kept; the argument says what, of which run. Nothing durable is lost."""


class NoWorker(Exception):  # noqa: N818 - what there is
    """No worker came up, however often: how the last one ended, and on which slot."""

    def __init__(self, cause: str, slot: int) -> None:
        super().__init__(cause)
        self.slot = slot
