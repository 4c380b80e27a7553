"""A simulated cluster around the scheduler: workers that obey, in an order the test chooses.

It keeps its own account of what happens, by lists and loops that are plainly right, and refuses every order
that a worker could not carry out. A second scheduler, made anew from a snapshot after each event, must order
the same.
"""

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace

from rapidfire_cli.facts import EpochEnded, Evicted, Metric, RunFailed, Saved, TurnEnded, WorkerDied
from rapidfire_cli.schedule.actions import (
    Action,
    Complete,
    Decide,
    EndTurn,
    Evict,
    GiveUp,
    Prune,
    Replace,
    StartWorker,
    Stop,
    Train,
)
from rapidfire_cli.schedule.events import (
    Event,
    MemoryRanOut,
    NewRun,
    RunResumeAsked,
    RunsAdded,
    RunStopAsked,
    SlotsAdded,
    SlotsWithdrawn,
    StopAsked,
    WorkerReady,
)
from rapidfire_cli.schedule.scheduler import Scheduler
from rapidfire_cli.schedule.state import FEWER
from rapidfire_cli.stopping.rule import Policy
from rapidfire_cli.terms import OomRetry, Run
from tests.schedule.snapshot import restored, snapshot

METRIC = "loss"


def retry(number: int, of: int | None = None, apart: bool = False) -> Run:
    """A run with a changed config; once admitted, it says whose place it takes."""
    return Run(number, f"{number:016x}", 1, "{}", 42, origin=OomRetry(of, apart) if of else None)


def epoch_ended(run: int, epoch: int, value: float | None) -> EpochEnded:
    """An epoch after which the run shows this value of METRIC, or none."""
    metrics = () if value is None else (Metric("validation", METRIC, value),)
    return EpochEnded(run, epoch, epoch, metrics, 1.0)


@dataclass
class Host:
    """One worker as the world sees it: what it was told and has not done yet."""

    up: bool = False
    inbox: list[Action] = field(default_factory=list)
    held: dict[int, int] = field(default_factory=dict)  # resident runs and how far they are trained

    @property
    def turn(self) -> Train | None:
        """The turn that it is in, or is about to begin."""
        return next((order for order in self.inbox if isinstance(order, Train)), None)


class SimulatedCluster:
    """Drives a machine; every action lands here, every event leaves from here."""

    def __init__(
        self,
        slots: int,
        goals: Sequence[int] = (),
        room: int = 10**9,
        size: int = 1,
        chunks: int = 1,
        value: Callable[[int, int], float | None] = lambda run, epoch: run / epoch,
    ) -> None:
        self.scheduler = Scheduler(slots, chunks)
        self.seen = json.dumps(snapshot(self.scheduler))
        self.machines = [range(slots)]  # the slots of each
        self.hosts: dict[int, Host] = {}
        self.entries: dict[int, NewRun] = {}
        self.room, self.size, self.chunks, self.value = room, size, chunks, value
        self.durable: dict[int, int] = {}
        self.allowed: dict[int, int] = {}  # ticks that a run may train before the next decision
        self.heard: dict[int, int] = {}  # epochs told
        self.withdrawn: set[int] = set()  # slots whose machine is about to go, or gone
        self.leaving: set[int] = set()
        self.alone: dict[int, tuple[int, ...]] = {}  # slots that runs have for themselves, as memory ran out
        self.seats: dict[int, dict[int, int]] = {}  # most residents, by slot and the run that lacked memory
        self.ended: dict[int, str] = {}
        self.unwanted: set[int] = set()  # runs that may get no further turn
        self.judged: set[int] = set()  # runs that may get none beyond where they were judged
        self.stopping = False
        self.trace: list[Action] = []
        self.turns: list[tuple[int, int, int]] = []  # first slot, run, ticks reached
        if goals:
            self.add([NewRun(run, goal) for run, goal in enumerate(goals, 1)])

    # Events

    def add(self, entries: Sequence[NewRun], policy: Policy | None = None) -> None:
        """Add free runs, or a bracket."""
        bracket = len(self.scheduler.policies) + 1 if policy else 0
        if policy is not None:
            limit = self.chunks * policy.start(
                bracket, {entry.run: entry.goal // self.chunks for entry in entries}
            )
            entries = [replace(entry, limit=limit) for entry in entries]
        for entry in entries:
            self.entries[entry.run] = entry
            self.durable[entry.run] = entry.durable
            self.allowed[entry.run] = min(entry.goal, entry.limit or entry.goal)
            self.heard[entry.run] = entry.durable // self.chunks
        self.tell(RunsAdded(tuple(entries), policy, bracket, METRIC))

    def tell(self, event: Event) -> None:
        """Let the machine take the event in, and obey."""
        twin = restored(json.loads(self.seen))
        again = twin.step(deepcopy(event))
        actions = self.scheduler.step(event)
        self.seen = json.dumps(snapshot(self.scheduler))
        assert str(again) == str(actions), "a restored machine orders something else"  # a NaN equals nothing
        assert json.dumps(snapshot(twin)) == self.seen
        self.trace += actions
        for action in actions:
            self._obey(action)

    def ask_stop(self, run: int) -> None:
        """A person wants no further turn of the run."""
        if run not in self.ended:
            self.unwanted.add(run)
        self.tell(RunStopAsked(run))

    def ask_resume(self, run: int) -> None:
        """A person wants a run back that ended before its goal; one about to stop keeps its place."""
        if run in self.ended or run in self.judged:
            self.allowed[run] = self.entries[run].goal
        self.ended.pop(run, None)
        self.unwanted.discard(run)
        self.judged.discard(run)
        self.tell(RunResumeAsked(run))

    def stop(self) -> None:
        """The whole sweep is to stop."""
        self.stopping = True
        self.tell(StopAsked())

    def join(self, count: int) -> None:
        """One more machine offers its slots."""
        first = self.machines[-1].stop
        self.machines.append(range(first, first + count))
        self.tell(SlotsAdded(count))

    def leave(self, machine: range) -> None:
        """A machine is about to go: its workers live on for a while."""
        self.withdrawn |= {*machine}
        for run in [run for run, slots in self.alone.items() if slots[0] in machine and not self.home(run)]:
            del self.alone[run]
        self.tell(SlotsWithdrawn(tuple(machine)))

    def movable(self) -> list[int]:
        """The slots on which something can happen."""
        return [slot for slot, host in sorted(self.hosts.items()) if not host.up or host.inbox]

    def advance(self, slot: int, dies: bool = False) -> None:
        """Let the slot's worker do its next thing; it may die before it tells of a turn's end."""
        host = self.hosts[slot]
        if not host.up:
            host.up = True
            self.tell(WorkerReady(slot, self.room))
            return
        order = host.inbox[0]
        if isinstance(order, EndTurn):  # its turn is over already
            del host.inbox[0]
            return
        late = [other for other in order.slots if self.hosts[other].inbox[0] != order]
        if late:  # another slot of the gang has something to do before
            self.advance(late[0])
            return
        for other in order.slots:
            self.hosts[other].inbox.remove(order)
        match order:
            case Train(slots, (run,), until):
                self._train(slots, run, until, dies)
            case Evict(slots, run):
                self._save(run)
                for other in slots:
                    del self.hosts[other].held[run]
                self.leaving.discard(run)
                self.alone.pop(run, None)
                self.tell(Evicted(run, self.durable[run]))

    def save(self, run: int) -> None:
        """A checkpoint becomes due, in the run's turn or while it waits for one."""
        if any(run in host.held for host in self.hosts.values()):
            self._save(run)

    def kill(self, slot: int) -> None:
        """The slot's worker dies."""
        self._lose(slot)
        self.tell(WorkerDied(slot, "killed by SIGKILL"))

    def _lose(self, slot: int) -> None:
        """The worker ends, and with it those of gangs that it is part of."""
        gone = self.hosts.pop(slot)
        self.alone = {run: slots for run, slots in self.alone.items() if slot not in slots}
        lost = {*gone.held, *(gone.turn.runs if gone.turn else ())}
        self.leaving -= lost
        for other in {other for run in lost for other in self.home(run)}:
            if other in self.hosts:
                self._lose(other)

    def exhaust(self, slot: int, replaceable: bool = False, given: Sequence[int] = ()) -> None:
        """The run that the slot serves next runs out of memory; its worker goes with it.

        Where it is `replaceable`, another run may take its place. It gets the memory of the slots that are
        `given` up.
        """
        (run,) = runs_of(self.hosts[slot].inbox[0])
        home, was_alone = self.home(run), run in self.alone
        if not (was_alone and given):
            self._lower(run)
        self._lose(slot)
        ends = run in self.unwanted or (run in self.judged and self.trained(run) >= self.allowed[run])
        elsewhere = slot in self.withdrawn
        if not ((was_alone and not given) or ends or elsewhere or self.stopping):
            self.alone[run] = home
        for other in given:
            if other in self.hosts:
                self._lose(other)
        self.withdrawn |= {*given}
        by = retry(len(self.entries) + 1) if replaceable else None
        self.tell(MemoryRanOut(slot, run, by, tuple(given)))

    def _lower(self, run: int) -> None:
        """A slot on which memory ran out holds fewer runs, unless the run is too large by itself."""
        for slot in self.home(run):
            host = self.hosts[slot]
            count = len({*host.held, *(host.turn.runs if host.turn else ())})
            lowered = self.seats.setdefault(slot, {})
            if run in self.alone:
                lowered.pop(run, None)
            elif count > 1:
                lowered[run] = max(1, int(count * FEWER))

    def fail(self, slot: int) -> None:
        """The run raises that the slot serves next."""
        (run,) = runs_of(self.hosts[slot].inbox[0])
        if self.entries[run].gang > 1:
            self._lose(slot)
        for host in self.hosts.values():
            host.inbox = [order for order in host.inbox if run not in runs_of(order)]
            host.held.pop(run, None)
        self.leaving.discard(run)
        self._ended(run, "failed")
        self.tell(RunFailed(run, "error", "ValueError: no", 0))

    def finish(self) -> None:
        """Round and round, one thing per slot, until nothing moves."""
        while slots := self.movable():
            for slot in slots:
                if slot in self.movable():
                    self.advance(slot)

    # What the world knows

    def trained(self, run: int) -> int:
        """Ticks."""
        return next((host.held[run] for host in self.hosts.values() if run in host.held), self.durable[run])

    def home(self, run: int) -> tuple[int, ...]:
        """The slots on which the run is resident, or is about to be opened."""
        return tuple(
            slot
            for slot, host in sorted(self.hosts.items())
            if run in host.held or (host.turn and host.turn.runs == (run,))
        )

    def in_turn(self, run: int) -> bool:
        return any(host.turn and host.turn.runs == (run,) for host in self.hosts.values())

    def ready(self, run: int) -> bool:
        """Whether the run could train, were there a slot."""
        more = self.trained(run) < self.allowed[run]
        if run not in self.judged:  # the last turn completes it
            more = more or self.allowed[run] == self.entries[run].goal
        over = run in self.ended or run in self.unwanted
        return more and not over and run not in self.leaving and not self.in_turn(run)

    def idle(self, slot: int) -> bool:
        host = self.hosts.get(slot)
        return host is not None and host.up and host.turn is None

    def has_room(self, slot: int, run: int | None = None) -> bool:
        """Whether the slot can hold the run (or any new one) beside those that it holds."""
        if any(slot in slots for other, slots in self.alone.items() if other != run):
            return False
        held = len(self.hosts[slot].held)
        seats = min(self.seats.get(slot, {}).values(), default=held + 1)
        return held == 0 or (held < seats and (held + 1) * self.scheduler.placement.size <= self.room)

    # Actions

    def _obey(self, action: Action) -> None:
        match action:
            case StartWorker(slot):
                assert slot not in self.hosts and slot not in self.withdrawn
                self.hosts[slot] = Host()
            case Train(slots, (run,), until):
                self._check_turn(slots, run, until)
                self._send(slots, action)
            case Evict(slots, run):
                assert slots == self.home(run) and not self.in_turn(run) and run not in self.leaving
                self.leaving.add(run)
                self._send(slots, action)
            case EndTurn(slots):
                turns = {self.hosts[slot].turn for slot in slots}
                assert len(turns) == 1
                self._send(slots, action)
            case Decide(decision):
                for verdict in decision.verdicts:
                    if not verdict.promoted:
                        self.judged.add(verdict.run)
                    elif verdict.run not in self.judged:
                        until = decision.until * self.chunks
                        self.allowed[verdict.run] = min(until, self.entries[verdict.run].goal)
            case Replace(run, Run(by, origin=OomRetry(former, apart)), bracket):
                assert run not in self.home_runs() and run not in self.unwanted | self.judged
                assert apart is (bracket is not None and self.heard[run] >= self.first_rung(bracket))
                assert former == run
                self._ended(run, "Replace")
                self.entries[by] = replace(self.entries[run], run=by, durable=0)
                self.durable[by] = self.heard[by] = 0
                outside = bracket is None or apart
                self.allowed[by] = self.entries[by].goal if outside else self.allowed[run]
            case Complete(run) | Prune(run) | Stop(run) | GiveUp(run):
                assert run not in self.leaving and not self.in_turn(run)
                assert isinstance(action, Complete) or run not in self.home_runs()
                self._ended(run, type(action).__name__)

    def first_rung(self, bracket: int) -> int:
        """The epochs after which a run of the bracket has shown something."""
        policy = self.scheduler.policies[bracket]
        levels = getattr(policy, "levels", (1,))  # without a ladder every epoch is a result
        return levels[0] if levels else policy.goal

    def home_runs(self) -> set[int]:
        return {run for host in self.hosts.values() for run in host.held}

    def _check_turn(self, slots: Sequence[int], run: int, until: int) -> None:
        """Everything that must hold when a turn begins."""
        assert not self.stopping, "a turn begins after the stop"
        assert self.ready(run), "it ended, is in a turn, waits for a decision, or is leaving"
        assert len(slots) == self.entries[run].gang and all(map(self.idle, slots))
        assert slots == tuple(range(slots[0], slots[0] + len(slots)))
        assert any({*slots} <= {*machine} for machine in self.machines), "the gang crosses machines"
        assert not self.withdrawn.intersection(slots), "a turn begins on a machine that is about to go"
        assert self.home(run) in ((), slots), "it is resident elsewhere"
        assert until == min(self.trained(run) + 1, self.allowed[run])
        assert all(run in self.hosts[slot].held or self.has_room(slot, run) for slot in slots), "no room"
        if run in self.alone:
            assert slots == self.alone[run], "it has other slots for itself"
            assert all(self.hosts[slot].held.keys() <= {run} for slot in slots), "it is not alone"

    def _send(self, slots: Sequence[int], order: Action) -> None:
        for slot in slots:
            self.hosts[slot].inbox.append(order)

    def _train(self, slots: tuple[int, ...], run: int, until: int, dies: bool) -> None:
        at = self.trained(run)
        asked = [order for order in self.hosts[slots[0]].inbox if isinstance(order, EndTurn)]
        for slot in slots:
            host = self.hosts[slot]
            host.inbox = [order for order in host.inbox if not isinstance(order, EndTurn)]
            host.held[run] = at if asked else until
        if asked:
            self._save(run)
        elif until % self.chunks == 0 and until // self.chunks > self.heard[run]:
            self.heard[run] += 1
            self.tell(epoch_ended(run, self.heard[run], self.value(run, self.heard[run])))
        self.turns.append((slots[0], run, self.trained(run)))
        at = self.trained(run)
        if at == self.entries[run].goal:
            self._save(run)
        if dies:
            self.kill(slots[-1])
            return
        if at == self.entries[run].goal:
            for slot in slots:
                del self.hosts[slot].held[run]
        self.tell(TurnEnded(run, slots[0], at, at, size=self.size))

    def _save(self, run: int) -> None:
        self.durable[run] = self.trained(run)
        self.tell(Saved(run, self.durable[run], self.durable[run]))

    def _ended(self, run: int, how: str) -> None:
        assert run not in self.ended, "it ended twice"
        self.alone.pop(run, None)
        self.ended[run] = how


def runs_of(order: Action) -> tuple[int, ...]:
    """The runs that an order is about."""
    match order:
        case Train(runs=runs):
            return runs
        case Evict(run=run):
            return (run,)
    return ()
