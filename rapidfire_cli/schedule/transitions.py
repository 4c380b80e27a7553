"""The legal phase transitions of runs and slots; anything unlisted is a bug and raises.

Triggers are events and actions: the next phase depends on the current one and on what happened or was
ordered.
"""

from enum import StrEnum
from typing import TypeAlias

from rapidfire_cli.facts import Evicted, RunFailed, Saved, TurnEnded, WorkerDied
from rapidfire_cli.schedule.actions import Complete, Evict, GiveUp, Prune, Replace, StartWorker, Stop, Train
from rapidfire_cli.schedule.events import RunResumeAsked, WorkerReady


class RunPhase(StrEnum):
    """The phase of a run between two events; a run that waits at its limit waits for a decision."""

    WAITING = "waiting"
    TRAINING = "training"
    LEAVING = "leaving"
    COMPLETED = "completed"
    PRUNED = "pruned"
    STOPPED = "stopped"
    FAILED = "failed"


class SlotPhase(StrEnum):
    """The phase of a slot's worker between two events."""

    CLOSED = "closed"
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"


class IllegalTransition(Exception):  # noqa: N818 - what it is
    """The trigger is not listed for the phase."""


RUN_TRANSITIONS = {
    (RunPhase.WAITING, Train): RunPhase.TRAINING,
    (RunPhase.WAITING, Evict): RunPhase.LEAVING,
    (RunPhase.WAITING, Complete): RunPhase.COMPLETED,
    (RunPhase.WAITING, Prune): RunPhase.PRUNED,
    (RunPhase.WAITING, Stop): RunPhase.STOPPED,
    (RunPhase.WAITING, GiveUp): RunPhase.FAILED,
    (RunPhase.WAITING, Replace): RunPhase.FAILED,
    (RunPhase.WAITING, WorkerDied): RunPhase.WAITING,
    (RunPhase.WAITING, Saved): RunPhase.WAITING,
    (RunPhase.TRAINING, Saved): RunPhase.TRAINING,
    (RunPhase.TRAINING, TurnEnded): RunPhase.WAITING,
    (RunPhase.TRAINING, RunFailed): RunPhase.FAILED,
    (RunPhase.TRAINING, WorkerDied): RunPhase.WAITING,
    (RunPhase.LEAVING, Saved): RunPhase.LEAVING,
    (RunPhase.LEAVING, Evicted): RunPhase.WAITING,
    (RunPhase.LEAVING, RunFailed): RunPhase.FAILED,
    (RunPhase.LEAVING, WorkerDied): RunPhase.WAITING,
    (RunPhase.PRUNED, RunResumeAsked): RunPhase.WAITING,
    (RunPhase.STOPPED, RunResumeAsked): RunPhase.WAITING,
    (RunPhase.FAILED, RunResumeAsked): RunPhase.WAITING,
}

SLOT_TRANSITIONS = {
    (SlotPhase.CLOSED, StartWorker): SlotPhase.STARTING,
    (SlotPhase.STARTING, WorkerReady): SlotPhase.IDLE,
    (SlotPhase.STARTING, WorkerDied): SlotPhase.CLOSED,
    (SlotPhase.IDLE, Train): SlotPhase.BUSY,
    (SlotPhase.IDLE, WorkerDied): SlotPhase.CLOSED,
    (SlotPhase.BUSY, TurnEnded): SlotPhase.IDLE,
    (SlotPhase.BUSY, RunFailed): SlotPhase.IDLE,
    (SlotPhase.BUSY, WorkerDied): SlotPhase.CLOSED,
}

Trigger: TypeAlias = type


def next_run_phase(phase: RunPhase, trigger: Trigger) -> RunPhase:
    """Return the run's phase after the trigger. Raises IllegalTransition."""
    try:
        return RUN_TRANSITIONS[phase, trigger]
    except KeyError:
        raise IllegalTransition(f"a {phase} run takes no {trigger.__name__}") from None


def next_slot_phase(phase: SlotPhase, trigger: Trigger) -> SlotPhase:
    """Return the slot's phase after the trigger. Raises IllegalTransition."""
    try:
        return SLOT_TRANSITIONS[phase, trigger]
    except KeyError:
        raise IllegalTransition(f"a {phase} slot takes no {trigger.__name__}") from None
