"""What holds of a scheduler between two events and at the end, whatever happened before."""

from tests.schedule.simulated_cluster import SimulatedCluster


def assert_over(cluster: SimulatedCluster) -> None:
    """Everything has ended that can or, after a stop, is durable."""
    assert cluster.scheduler.finished
    if cluster.stopping:
        assert all(cluster.trained(run) == cluster.durable[run] for run in cluster.entries)
        return
    broken = {slot.slot for slot in cluster.scheduler.slots if slot.is_broken}
    for run in cluster.entries.keys() - cluster.ended.keys():
        assert cluster.withdrawn, "no machine has gone, yet a run has not ended"
        for gang in gangs(cluster.machines, cluster.entries[run].gang):
            assert cluster.withdrawn.union(broken).intersection(gang), "a run has not ended"


def assert_at_rest(cluster: SimulatedCluster) -> None:
    """What must hold between two events, said run by run and slot by slot."""
    waiting = [run for run in cluster.entries if cluster.ready(run)]
    claims = {slot.slot: slot.claim for slot in cluster.scheduler.slots if slot.claim is not None}
    taken = claims.keys() | cluster.withdrawn
    resting = [slot for slot in cluster.hosts if cluster.idle(slot) and slot not in taken]
    roomy = [slot for slot in resting if cluster.has_room(slot)]
    for run in waiting:
        entry, home = cluster.entries[run], cluster.home(run)
        if run in claims.values():
            kept = [slot for slot, claim in claims.items() if claim == run]
            assert len(kept) == entry.gang and home in ((), tuple(kept))
            assert any(delays(cluster, slot, run) for slot in kept), (
                "nothing is in the way of the gang's turn"
            )
            continue
        for gang in gangs(cluster.machines, entry.gang):
            if home:
                assert home != tuple(gang) or not set(gang) <= set(resting), "its home rests"
            else:
                assert not set(gang) <= set(roomy), "there is room and rest for it"
    behind = [run for run in waiting if cluster.home(run) and run not in claims.values()]
    singles = [run for run in behind if cluster.entries[run].gang == 1]
    assert not singles or len(cluster.leaving) >= len(roomy), "a slot rests while runs wait behind others"
    elsewhere = [
        run
        for run in waiting
        if not cluster.home(run) and cluster.entries[run].gang == 1 and run not in claims.values()
    ]
    full = [slot for slot in resting if not cluster.has_room(slot)]
    if len(cluster.leaving) < len(elsewhere):
        for slot in full:
            held = cluster.hosts[slot].held
            parked = [run for run in held if not cluster.ready(run) and not cluster.in_turn(run)]
            assert not parked or cluster.leaving & held.keys(), (
                "a run that waits for a decision is in the way"
            )


def gangs(machines: list[range], size: int) -> list[range]:
    """The slots that may serve a run together."""
    return [
        range(first, first + size)
        for machine in machines
        for first in range(machine.start, machine.stop - size + 1, size)
    ]


def delays(cluster: SimulatedCluster, slot: int, run: int) -> bool:
    """Whether the slot is in a turn, or lacks room that somebody leaves."""
    return not cluster.idle(slot) or bool(cluster.leaving & cluster.hosts[slot].held.keys())
