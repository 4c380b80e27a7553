"""The scheduler's state as plain data: what it knows survives JSON, what follows from it is built again."""

from typing import Any

from rapidfire_cli.records import by_name, from_plain, to_plain
from rapidfire_cli.schedule.asha import AsyncHalving, Rung
from rapidfire_cli.schedule.halving import Halving
from rapidfire_cli.schedule.median import Median
from rapidfire_cli.schedule.placement import Floor
from rapidfire_cli.schedule.scheduler import Machine
from rapidfire_cli.schedule.state import RunEntry, SlotEntry
from rapidfire_cli.schedule.transitions import RunPhase, SlotPhase

KINDS = by_name((AsyncHalving, Halving, Median, Rung, RunEntry, SlotEntry))


def snapshot(machine: Machine) -> dict[str, Any]:
    """Everything that the machine's next decisions depend on."""
    return {
        "chunks": machine.chunks,
        "expected": machine.expected,
        "size": machine.floor.size,
        "stopping": machine.stopping,
        "slots": [to_plain(slot) for slot in machine.slots],
        "runs": [to_plain(run) for run in machine.runs.values()],
        "policies": [[bracket, to_plain(policy)] for bracket, policy in machine.policies.items()],
    }


def restored(plain: dict[str, Any]) -> Machine:
    """The machine again. Raises KeyError, TypeError or ValueError on anything but a snapshot."""
    slots = [_slot(from_plain(slot, KINDS)) for slot in plain["slots"]]
    runs = [_run(from_plain(run, KINDS)) for run in plain["runs"]]
    machine = Machine(len(slots), plain["chunks"])
    machine.expected, machine.stopping = plain["expected"], plain["stopping"]
    machine.policies = {bracket: from_plain(policy, KINDS) for bracket, policy in plain["policies"]}
    machine.adopt(Floor(slots, runs, plain["size"]))
    return machine


def _slot(slot: SlotEntry) -> SlotEntry:
    slot.phase = SlotPhase(slot.phase)
    return slot


def _run(run: RunEntry) -> RunEntry:
    run.phase = RunPhase(run.phase)
    run.ending = RunPhase(run.ending) if run.ending else None
    return run
