"""The scheduler decides who trains what, where and until when; it does nothing itself."""

import pytest

from rapidfire_cli.facts import Evicted, Saved, TurnEnded
from rapidfire_cli.schedule.actions import (
    Complete,
    Decide,
    EndTurn,
    Evict,
    GiveUp,
    Replace,
    StartWorker,
    Train,
)
from rapidfire_cli.schedule.events import NewRun, RunsAdded, WorkerReady
from rapidfire_cli.schedule.scheduler import MOST_DEATHS, Scheduler
from rapidfire_cli.schedule.state import MOST_FAILED_STARTS, RunEntry
from rapidfire_cli.schedule.transitions import IllegalTransition, RunPhase
from rapidfire_cli.stopping.asha import AsyncHalving
from rapidfire_cli.stopping.halving import Halving
from tests.schedule.invariants import assert_at_rest, assert_over
from tests.schedule.simulated_cluster import SimulatedCluster, retry


def completed(cluster: SimulatedCluster) -> set[int]:
    return {action.run for action in cluster.trace if isinstance(action, Complete)}


def test_every_run_shows_its_first_epoch_before_any_shows_its_second():
    cluster = SimulatedCluster(slots=2, goals=[3] * 6)
    cluster.finish()
    assert sorted(run for _, run, _ in cluster.turns[:6]) == [1, 2, 3, 4, 5, 6]


def test_a_slot_keeps_the_runs_it_holds():
    cluster = SimulatedCluster(slots=2, goals=[4] * 6)
    cluster.finish()
    homes = {(run, slot) for slot, run, _ in cluster.turns}
    assert len(homes) == 6


def test_no_more_workers_are_started_than_there_are_runs():
    cluster = SimulatedCluster(slots=8, goals=[1, 1])
    assert [action for action in cluster.trace if isinstance(action, StartWorker)] == [
        StartWorker(0),
        StartWorker(1),
    ]


def test_a_slot_holds_no_more_runs_than_fit_and_begins_another_when_one_completes():
    cluster = SimulatedCluster(slots=1, goals=[2] * 4, room=20, size=10)
    most = 0
    while slots := cluster.movable():
        cluster.advance(slots[0])
        most = max(most, len(cluster.hosts[0].held))
    assert most == 2
    assert [run for _, run, _ in cluster.turns] == [1, 2, 1, 3, 2, 4, 3, 4]
    assert completed(cluster) == {1, 2, 3, 4}


def test_a_run_larger_than_the_room_trains_alone():
    cluster = SimulatedCluster(slots=1, goals=[2, 2], room=5, size=10)
    cluster.finish()
    assert [run for _, run, _ in cluster.turns] == [1, 1, 2, 2]


def test_an_idle_slot_takes_over_a_run_that_waits_behind_another():
    cluster = SimulatedCluster(slots=2, goals=[1, 1, 9, 9])
    for slot in (0, 1, 0, 0, 0):  # slot 0 takes up runs 3 and 4 while slot 1 is still in run 2's turn
        cluster.advance(slot)
    cluster.advance(1)
    assert [action for action in cluster.trace if isinstance(action, Evict)] == [Evict((0,), 4)]
    cluster.finish()
    assert {slot for slot, run, _ in cluster.turns if run == 4} == {0, 1}
    assert completed(cluster) == {1, 2, 3, 4}


def test_a_run_that_waits_for_a_decision_makes_room_for_one_that_could_train():
    cluster = SimulatedCluster(slots=1, room=1)
    cluster.add([NewRun(run, 4) for run in range(1, 5)], Halving((1, 2), 4, 2, "max"))
    while cluster.movable():
        cluster.advance(0)
        assert_at_rest(cluster)
    assert [run for _, run, _ in cluster.turns[:4]] == [1, 2, 3, 4]
    assert {action for action in cluster.trace if isinstance(action, Evict)} >= {
        Evict((0,), run) for run in (1, 2, 3)
    }


def test_a_dead_worker_sets_its_resident_runs_back_to_what_is_durable():
    cluster = SimulatedCluster(slots=1, goals=[3, 3])
    cluster.advance(0)
    cluster.advance(0)
    cluster.advance(0)
    cluster.tell(Saved(1, 1, 1))
    cluster.durable[1] = 1
    cluster.kill(0)
    assert cluster.scheduler.runs[1].trained == 1
    assert cluster.scheduler.runs[2].trained == 0
    cluster.finish()
    assert completed(cluster) == {1, 2}


def test_a_run_that_is_saved_while_it_waits_keeps_its_epochs_when_the_worker_dies():
    cluster = SimulatedCluster(slots=1, goals=[3, 3])
    cluster.advance(0)
    cluster.advance(0)
    assert cluster.scheduler.runs[1].phase is RunPhase.WAITING
    cluster.save(1)
    cluster.kill(0)
    assert cluster.scheduler.runs[1].trained == 1
    assert cluster.scheduler.runs[2].trained == 0
    cluster.finish()
    assert completed(cluster) == {1, 2}


def test_a_run_that_kills_its_workers_is_given_up_after_three_retries_and_the_others_go_on():
    cluster = SimulatedCluster(slots=1, goals=[2, 2])
    for _ in range(MOST_DEATHS + 1):
        cluster.advance(0)
        while cluster.hosts[0].inbox[0].runs != (1,):
            cluster.advance(0)
        cluster.kill(0)
    assert GiveUp(1) in cluster.trace
    assert cluster.scheduler.runs[2].deaths == 0
    cluster.finish()
    assert completed(cluster) == {2}


def test_runs_are_given_up_when_no_worker_ever_comes_up():
    cluster = SimulatedCluster(slots=2, goals=[1, 1, 1])
    for _ in range(MOST_FAILED_STARTS):
        for slot in list(cluster.hosts):
            cluster.kill(slot)
    assert cluster.scheduler.finished
    assert {action for action in cluster.trace if isinstance(action, GiveUp)} == {
        GiveUp(1),
        GiveUp(2),
        GiveUp(3),
    }


def test_a_failed_run_frees_its_slot_and_is_not_tried_again():
    cluster = SimulatedCluster(slots=1, goals=[2, 2])
    cluster.advance(0)
    cluster.fail(0)
    cluster.finish()
    assert completed(cluster) == {2}
    assert cluster.scheduler.runs[1].phase is RunPhase.FAILED
    assert all(run != 1 for _, run, _ in cluster.turns)


def test_a_stop_ends_turns_makes_what_is_trained_durable_and_starts_nothing():
    cluster = SimulatedCluster(slots=1, goals=[3, 3])
    cluster.advance(0)
    cluster.advance(0)  # run 1 has trained a tick and waits
    cluster.stop()
    assert EndTurn((0,)) in cluster.trace and Evict((0,), 1) in cluster.trace
    cluster.trace = []
    cluster.hosts[0].inbox = [order for order in cluster.hosts[0].inbox if not isinstance(order, EndTurn)]
    cluster.finish()
    assert cluster.scheduler.finished
    assert cluster.durable[1] == 1
    assert not [action for action in cluster.trace if isinstance(action, Train)]


def test_what_is_not_listed_raises():
    scheduler = Scheduler(1)
    scheduler.step(RunsAdded((NewRun(1, goal=1),)))
    with pytest.raises(IllegalTransition, match=r"run 1 trains on \(\), not on slot 0"):
        scheduler.step(TurnEnded(1, 0, at=1, step=1))
    with pytest.raises(IllegalTransition, match="run 7 was never added"):
        scheduler.step(Saved(7, 1, 1))
    with pytest.raises(IllegalTransition, match="run 1 was added twice"):
        scheduler.step(RunsAdded((NewRun(1, goal=1),)))
    with pytest.raises(IllegalTransition, match="a waiting run takes no Evicted"):
        scheduler.step(Evicted(1, 1))
    scheduler.step(WorkerReady(0, room=1))
    with pytest.raises(IllegalTransition, match="a busy slot takes no WorkerReady"):
        scheduler.step(WorkerReady(0, room=1))


def test_a_run_that_finds_no_memory_is_tried_again_alone_on_its_slot():
    cluster = SimulatedCluster(slots=1, goals=[2, 2, 2])
    cluster.advance(0)
    cluster.advance(0)  # run 1 has trained, and rests where run 2 trains now
    cluster.exhaust(0)
    cluster.advance(0)
    cluster.finish()
    assert [run for _, run, _ in cluster.turns] == [1, 2, 2, 1, 1, 3, 3]
    assert cluster.scheduler.runs[2].deaths == 0
    assert completed(cluster) == {1, 2, 3}


def test_a_run_that_finds_no_memory_alone_is_given_up_and_the_others_go_on():
    cluster = SimulatedCluster(slots=2, goals=[2, 2, 2, 2])
    cluster.advance(0)
    for _ in range(2):
        while not (cluster.hosts[0].turn and cluster.hosts[0].turn.runs == (1,)):
            cluster.advance(0)
        cluster.exhaust(0)
    assert GiveUp(1) in cluster.trace
    cluster.finish()
    assert completed(cluster) == {2, 3, 4}


def test_a_run_that_gets_the_memory_of_another_slot_is_tried_again_and_nothing_starts_there():
    cluster = SimulatedCluster(slots=3, goals=[3] * 6)
    for slot in (0, 1, 2, 0, 1, 2):
        cluster.advance(slot)
    cluster.exhaust(0, given=[2])  # in the turn of run 4
    cluster.advance(0)
    cluster.exhaust(0, given=[1])  # it is alone by now
    assert not cluster.hosts.keys() - {0}
    cluster.finish()
    assert completed(cluster) == {1, 2, 3, 4, 5, 6}
    assert {slot for slot, _, _ in cluster.turns[3:]} == {0}
    assert all(entry.deaths == 0 for entry in cluster.scheduler.runs.values())


def test_a_slot_on_which_memory_ran_out_holds_fewer_runs_from_then_on():
    cluster = SimulatedCluster(slots=1, goals=[3] * 40, room=10**9, size=1)
    lost = 0
    most = []
    while slots := cluster.movable():
        held = cluster.hosts[0].held
        if len(held) > 20 and cluster.hosts[0].turn:
            lost += 1
            cluster.exhaust(0)
            most.append(cluster.scheduler.slots[0].most)
        else:
            cluster.advance(slots[0])
    assert completed(cluster) == set(range(1, 41))
    assert (lost, most) == (1, [16])  # of 22


def test_a_run_that_is_too_large_by_itself_takes_no_room_from_others():
    cluster = SimulatedCluster(slots=1, goals=[2] * 9)
    out_of_memory(cluster, 6, replaceable=False)
    assert GiveUp(6) in cluster.trace
    assert cluster.scheduler.slots[0].most is None
    cluster.finish()
    assert completed(cluster) == {1, 2, 3, 4, 5, 7, 8, 9}


def test_a_run_whose_worker_is_killed_while_it_is_alone_is_tried_alone_again():
    cluster = SimulatedCluster(slots=1, goals=[3, 3, 3])
    for beside in ({2, 3}, {2}):
        while not (cluster.in_turn(1) and beside <= cluster.hosts[0].held.keys()):
            cluster.advance(0)
        cluster.exhaust(0)
        assert 1 not in cluster.ended
        until_its_turn(cluster, 1)
        assert not cluster.hosts[0].held
        cluster.kill(0)
    cluster.finish()
    assert completed(cluster) == {1, 2, 3}


def test_a_run_that_lost_the_slot_that_it_had_for_itself_raises_no_limit_elsewhere():
    cluster = SimulatedCluster(slots=2, goals=[3] * 24)
    for slot in (0, 1):
        while len(cluster.hosts[slot].held) < 5 or not cluster.hosts[slot].turn:
            cluster.advance(slot)
        run = cluster.scheduler.slots[slot].training
        cluster.exhaust(slot)
    limits = [slot.most for slot in cluster.scheduler.slots]
    until_its_turn(cluster, run)
    cluster.kill(1)
    while not cluster.in_turn(run):
        cluster.advance(0)
    cluster.exhaust(0)
    assert limits == [4, 4] and cluster.scheduler.slots[0].most in (1, 2, 3, 4)


def test_a_slot_whose_worker_ran_out_of_memory_is_opened_again_though_others_are_idle():
    cluster = SimulatedCluster(slots=2, goals=[2, 1])
    cluster.advance(0)
    cluster.advance(1)
    cluster.advance(1)  # run 2 is completed; slot 1 is idle
    cluster.exhaust(0)
    cluster.finish()
    assert completed(cluster) == {1, 2}


def test_memory_that_runs_out_during_a_stop_starts_nothing():
    cluster = SimulatedCluster(slots=1, goals=[2])
    cluster.advance(0)
    cluster.stop()
    cluster.exhaust(0)
    assert cluster.scheduler.finished and not cluster.hosts


def out_of_memory(cluster: SimulatedCluster, run: int, replaceable: bool = True) -> None:
    """The run runs out of memory, alone too."""
    for _ in range(2):
        until_its_turn(cluster, run)
        cluster.exhaust(cluster.home(run)[0], replaceable)


def until_its_turn(cluster: SimulatedCluster, run: int) -> None:
    while not cluster.in_turn(run):
        cluster.advance(cluster.movable()[0])


def test_another_run_takes_the_place_of_one_that_finds_no_memory_alone():
    cluster = SimulatedCluster(slots=1, goals=[2, 2])
    out_of_memory(cluster, 1)
    assert Replace(1, retry(3, of=1)) in cluster.trace and GiveUp(1) not in cluster.trace
    cluster.finish()
    assert completed(cluster) == {2, 3}


def test_a_replacement_may_be_replaced():
    cluster = SimulatedCluster(slots=1, goals=[2])
    out_of_memory(cluster, 1)
    out_of_memory(cluster, 2)
    cluster.finish()
    assert completed(cluster) == {3}


def test_a_replacement_stands_in_the_bracket_where_nothing_was_known_of_its_original():
    cluster = SimulatedCluster(slots=1)
    cluster.add([NewRun(1, 4), NewRun(2, 4)], Halving((1, 2), 4, 2, "max"))
    out_of_memory(cluster, 1)
    cluster.finish()
    assert Replace(1, retry(3, of=1), bracket=1) in cluster.trace
    assert completed(cluster) == {3}, "it is better at the first rung, as its number is higher"


def test_a_replacement_trains_apart_where_its_original_has_a_result():
    cluster = SimulatedCluster(slots=1)
    cluster.add([NewRun(1, 4), NewRun(2, 4)], Halving((2,), 4, 2, "max"))
    while cluster.heard[1] < 2:
        cluster.advance(0)
    cluster.add([NewRun(3, 9)])
    cluster.kill(0)  # run 1 goes back to its beginning, and its bracket keeps the result
    out_of_memory(cluster, 1)
    cluster.finish()
    assert Replace(1, retry(4, of=1, apart=True), bracket=1) in cluster.trace
    [decision] = [action.decision for action in cluster.trace if isinstance(action, Decide)]
    assert decision.failed == (1,) and completed(cluster) == {2, 3, 4}


def test_a_run_that_a_person_stopped_is_not_replaced():
    cluster = SimulatedCluster(slots=1, goals=[2, 2])
    cluster.advance(0)
    cluster.exhaust(0)
    cluster.ask_stop(1)
    cluster.finish()
    assert not any(isinstance(action, Replace) for action in cluster.trace)


@pytest.mark.parametrize("policy", [Halving((1, 2), 4, 2, "min"), AsyncHalving((1, 2), 4, 2, "min")])
def test_who_is_stopped_or_pruned_and_resumed_by_hand_trains_to_its_goal_outside_its_bracket(policy):
    cluster = SimulatedCluster(slots=1)
    cluster.add([NewRun(run, goal=4) for run in range(1, 5)], policy)
    cluster.ask_stop(1)  # the others are compared without it
    cluster.finish()
    assert cluster.ended == {1: "Stop", 2: "Complete", 3: "Prune", 4: "Prune"}
    decided = [action for action in cluster.trace if isinstance(action, Decide)]
    assert {verdict.run for each in decided for verdict in each.decision.verdicts} == {2, 3, 4}
    for run in (1, 4):
        cluster.ask_resume(run)
    cluster.finish()
    assert completed(cluster) == {1, 2, 4}
    assert [action for action in cluster.trace if isinstance(action, Decide)] == decided


def test_a_decision_gives_no_turn_to_a_run_that_a_person_stopped():
    cluster = SimulatedCluster(slots=1)
    cluster.add([NewRun(1, 4), NewRun(2, 4)], Halving((1, 2), 4, 2, "max"))
    while not (cluster.heard[1] and cluster.in_turn(2)):
        cluster.advance(0)
    cluster.ask_stop(1)  # it leaves its worker after the turn of run 2, whose result is better
    cluster.advance(0)
    assert cluster.judged == {1} and cluster.leaving == {1}
    cluster.kill(0)  # no checkpoint holds what run 1 trained
    cluster.finish()
    assert cluster.ended == {1: "Stop", 2: "Complete"}


def test_runs_train_on_a_machine_that_joins_later():
    cluster = SimulatedCluster(1, goals=[2, 2])
    cluster.join(1)
    assert cluster.trace[-1:] == [StartWorker(1)]
    cluster.finish()
    assert {slot for slot, _, _ in cluster.turns} == {0, 1} and cluster.ended.keys() == {1, 2}


def test_the_slots_of_a_gang_are_on_one_machine():
    cluster = SimulatedCluster(3)
    cluster.join(3)
    cluster.add([NewRun(run, 2, gang=2) for run in range(1, 5)])
    cluster.finish()
    assert {slot for slot, _, _ in cluster.turns} == {0, 3}


def test_no_more_runs_make_room_for_a_gang_than_must():
    cluster = SimulatedCluster(slots=2, goals=[9] * 6, room=3, size=1)
    while len(cluster.turns) < 7:
        for slot in (0, 1):
            cluster.advance(slot)
    assert [len(host.held) for host in cluster.hosts.values()] == [3, 3]
    cluster.trace = []
    cluster.add([NewRun(7, 2, gang=2)])
    until_its_turn(cluster, 7)
    assert cluster.trace == [Evict((0,), 1), Evict((1,), 2), Train((0, 1), (7,), 1)]


def test_runs_leave_a_machine_that_is_about_to_go_with_all_that_they_have():
    cluster = SimulatedCluster(1, goals=[3, 3])
    cluster.join(1)
    for slot in (0, 1, 1):  # both workers start; the second ends a turn
        cluster.advance(slot)
    cluster.leave(range(1, 2))
    assert cluster.trace[-1:] == [EndTurn((1,))]
    cluster.finish()
    assert cluster.durable == {1: 3, 2: 3} and cluster.ended.keys() == {1, 2}
    assert [slot for slot, _, _ in cluster.turns].count(1) == 2


def test_the_end_of_a_machine_is_no_death_that_counts():
    cluster = SimulatedCluster(1, goals=[9])
    for machine in range(1, 6):  # more than a run may lose
        cluster.advance(machine - 1)
        cluster.leave(range(machine - 1, machine))
        cluster.join(1)
        cluster.kill(machine - 1)
    cluster.finish()
    assert cluster.ended == {1: "Complete"}


def test_a_run_for_which_no_machine_is_large_enough_any_more_keeps_the_fit_from_nothing():
    cluster = SimulatedCluster(1, goals=[1])
    cluster.join(2)
    cluster.add([NewRun(2, 5, gang=2)])
    cluster.leave(range(1, 3))
    cluster.finish()
    assert cluster.ended == {1: "Complete"}
    assert_over(cluster)
    cluster.join(2)
    assert not cluster.scheduler.finished
    cluster.finish()
    assert cluster.ended.keys() == {1, 2}


@pytest.mark.parametrize(
    ("entry", "chunks", "ticks"),
    [
        (RunEntry(1, goal=8, limit=8, trained=2, durable=0), 1, 8),
        (RunEntry(1, goal=8, limit=8, trained=0, durable=0), 1, 0),
        (RunEntry(1, goal=8, limit=4, trained=2, durable=0, bracket=1), 1, 0),
        (RunEntry(1, goal=8, limit=8, trained=2, durable=0), 2, 0),
    ],
    ids=["later turn", "first turn", "awaited by a bracket", "in chunks"],
)
def test_a_short_turn_may_go_on_unless_others_wait_for_its_end(entry, chunks, ticks):
    assert entry.stretch(chunks) == ticks
