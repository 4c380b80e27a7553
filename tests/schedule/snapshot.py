"""The scheduler's state as plain data: what it knows survives JSON, what follows from it is built again."""

from typing import Any

from rapidfire_cli.records import by_name, from_plain, to_plain
from rapidfire_cli.schedule.placement import Placement
from rapidfire_cli.schedule.scheduler import UNFINISHED_PHASES, Scheduler
from rapidfire_cli.schedule.state import RunEntry, SlotEntry
from rapidfire_cli.schedule.transitions import RunPhase, SlotPhase
from tests.stopping.states import STATES

KINDS = {**STATES, **by_name((RunEntry, SlotEntry))}


def snapshot(scheduler: Scheduler) -> dict[str, Any]:
    """Everything that the scheduler's next decisions depend on."""
    return {
        "chunks": scheduler.chunks,
        "expected": scheduler.expected,
        "size": scheduler.placement.size,
        "stopping": scheduler.stopping,
        "slots": [to_plain(slot) for slot in scheduler.slots],
        "runs": [to_plain(run) for run in scheduler.runs.values()],
        "metrics": [[bracket, metric] for bracket, metric in scheduler.metrics.items()],
        "policies": [[bracket, to_plain(policy)] for bracket, policy in scheduler.policies.items()],
    }


def restored(plain: dict[str, Any]) -> Scheduler:
    """The machine again. Raises KeyError, TypeError or ValueError on anything but a snapshot."""
    slots = [_slot(from_plain(slot, KINDS)) for slot in plain["slots"]]
    runs = [_run(from_plain(run, KINDS)) for run in plain["runs"]]
    scheduler = Scheduler(len(slots), plain["chunks"])
    scheduler.expected, scheduler.stopping = plain["expected"], plain["stopping"]
    scheduler.policies = {bracket: from_plain(policy, KINDS) for bracket, policy in plain["policies"]}
    scheduler.metrics = dict(plain["metrics"])
    scheduler.placement = Placement(slots, runs, plain["size"])
    for run in runs:
        scheduler._count(run, run.phase in UNFINISHED_PHASES)
    return scheduler


def _slot(slot: SlotEntry) -> SlotEntry:
    slot.phase = SlotPhase(slot.phase)
    return slot


def _run(run: RunEntry) -> RunEntry:
    run.phase = RunPhase(run.phase)
    run.ending = RunPhase(run.ending) if run.ending else None
    return run
