"""Whatever happens: no run is lost, none trains twice at once, no slot idles in vain, and it all ends."""

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rapidfire_cli.schedule.events import NewRun
from rapidfire_cli.schedule.state import has_gang
from rapidfire_cli.stopping.asha import AsyncHalving
from rapidfire_cli.stopping.halving import Halving
from rapidfire_cli.stopping.median import Median
from rapidfire_cli.stopping.patience import Patience
from rapidfire_cli.stopping.rule import Policy
from tests.schedule.invariants import assert_at_rest, assert_over
from tests.schedule.simulated_cluster import SimulatedCluster, runs_of
from tests.shares import EXAMPLES

MOST_RUNS = 16  # before more come
MOST_MACHINES = 4
VALUES = (0.1, 0.2, 0.3, 0.4, 0.4, math.nan, None, math.inf)

WHICH = st.integers(0, 99)
POLICIES = st.sampled_from(
    [
        lambda: Halving((1, 2), 4, 2, "min"),
        lambda: Halving((1, 3), 4, 3, "max"),
        lambda: Halving((), 4, 2, "min"),
        lambda: AsyncHalving((1, 2), 4, 2, "min"),
        lambda: AsyncHalving((1, 3), 4, 3, "max"),
        lambda: Median(1, "min", others=2),
        lambda: Median(2, "max", others=1),
        lambda: Patience(1, 0.0, "min"),
        lambda: Patience(2, 0.5, "max"),
    ]
)


class Histories(RuleBasedStateMachine):
    """A world in which anything may happen; hypothesis chooses what."""

    cluster: SimulatedCluster

    @initialize(
        slots=st.integers(1, 6), room=st.integers(1, 6), chunks=st.integers(1, 4), luck=st.integers(0, 999)
    )
    def begin(self, slots: int, room: int, chunks: int, luck: int) -> None:
        def value(run: int, epoch: int) -> float | None:
            return VALUES[(run * 31 + epoch * 17 + luck * 7) % len(VALUES)]

        self.cluster = SimulatedCluster(slots, room=room, chunks=chunks, value=value)

    @precondition(lambda self: len(self.cluster.entries) < MOST_RUNS)
    @rule(count=st.integers(1, 5), epochs=st.integers(1, 3), gang=st.integers(1, 3))
    def add_runs(self, count: int, epochs: int, gang: int) -> None:
        self.cluster.add(self._entries(count, epochs, gang))

    @precondition(lambda self: len(self.cluster.entries) < MOST_RUNS)
    @rule(count=st.integers(1, 9), gang=st.integers(1, 3), policy=POLICIES)
    def add_bracket(self, count: int, gang: int, policy: Policy) -> None:
        self.cluster.add(self._entries(count, 4, gang), policy())

    def _entries(self, count: int, epochs: int, gang: int) -> list[NewRun]:
        first = len(self.cluster.entries) + 1
        size = min(gang, max(map(len, self.cluster.machines)))
        return [NewRun(run, epochs * self.cluster.chunks, gang=size) for run in range(first, first + count)]

    @precondition(lambda self: self.cluster.movable())
    @rule(which=WHICH, times=st.integers(1, 9))
    def advance(self, which: int, times: int) -> None:
        for step in range(times):
            if slots := self.cluster.movable():
                self.cluster.advance(slots[(which + step * 7) % len(slots)])
                self.slots_rest_only_where_nothing_waits()

    @precondition(lambda self: self.cluster.movable())
    @rule(which=WHICH)
    def finish_a_turn_and_die_before_telling(self, which: int) -> None:
        slots = self.cluster.movable()
        self.cluster.advance(slots[which % len(slots)], dies=True)

    @precondition(lambda self: self.cluster.hosts)
    @rule(which=WHICH)
    def kill(self, which: int) -> None:
        slots = sorted(self.cluster.hosts)
        self.cluster.kill(slots[which % len(slots)])

    @precondition(lambda self: self._serving())
    @rule(which=WHICH)
    def fail(self, which: int) -> None:
        slots = self._serving()
        self.cluster.fail(slots[which % len(slots)])

    @precondition(lambda self: self._serving())
    @rule(which=WHICH, replaceable=st.booleans(), gives=st.booleans())
    def exhaust(self, which: int, replaceable: bool, gives: bool) -> None:
        slots = self._serving()
        slot = slots[which % len(slots)]
        self.cluster.exhaust(slot, replaceable, self._spare(slot)[:1] if gives else ())

    def _spare(self, slot: int) -> list[int]:
        """The other slots without which each run still finds a gang."""
        (run,) = runs_of(self.cluster.hosts[slot].inbox[0])
        home = {slot, *self.cluster.home(run)}
        others = (one.slot for one in self.cluster.scheduler.slots if not (one.withdrawn or one.is_broken))
        return [one for one in others if one not in home and self._suffice_without({one})]

    def _suffice_without(self, gone: set[int]) -> bool:
        """Whether each run finds a gang among the other slots."""
        left = [
            slot
            for slot in self.cluster.scheduler.slots
            if not (slot.withdrawn or slot.is_broken or slot.slot in gone)
        ]
        return all(
            has_gang(left, size) for size in {1, *(entry.gang for entry in self.cluster.entries.values())}
        )

    def _serving(self) -> list[int]:
        """The slots whose next order is about a run."""
        hosts = sorted(self.cluster.hosts.items())
        return [slot for slot, host in hosts if host.up and host.inbox and runs_of(host.inbox[0])]

    @precondition(lambda self: self.cluster.entries)
    @rule(which=WHICH)
    def save(self, which: int) -> None:
        self.cluster.save(which % len(self.cluster.entries) + 1)

    @precondition(lambda self: self.cluster.entries)
    @rule(which=WHICH)
    def ask_stop(self, which: int) -> None:
        self.cluster.ask_stop(which % len(self.cluster.entries) + 1)

    @precondition(lambda self: self.resumable())
    @rule(which=WHICH)
    def ask_resume(self, which: int) -> None:
        runs = self.resumable()
        self.cluster.ask_resume(runs[which % len(runs)])

    def resumable(self) -> list[int]:
        """The runs that failed, that a person stopped or that a decision pruned."""
        ended, cut = self.cluster.ended, self.cluster.unwanted | self.cluster.judged
        kept = {run for run in cut if run not in ended}
        return sorted(kept | {run for run, how in ended.items() if how not in ("Complete", "Replace")})

    @precondition(lambda self: len(self.cluster.machines) < MOST_MACHINES)
    @rule(count=st.integers(1, 4))
    def join(self, count: int) -> None:
        self.cluster.join(count)

    @precondition(lambda self: self._staying())
    @rule(which=WHICH)
    def leave(self, which: int) -> None:
        machines = self._staying()
        self.cluster.leave(machines[which % len(machines)])

    def _staying(self) -> list[range]:
        """The machines without which each run still finds a gang."""
        here = [machine for machine in self.cluster.machines if {*machine} - self.cluster.withdrawn]
        return [machine for machine in here if self._suffice_without({*machine})]

    @rule(rarely=WHICH)
    def stop(self, rarely: int) -> None:
        if rarely == 0:
            self.cluster.stop()

    @invariant()
    def slots_rest_only_where_nothing_waits(self) -> None:
        if not self.cluster.stopping:
            assert_at_rest(self.cluster)

    def teardown(self) -> None:
        self.cluster.finish()
        assert_over(self.cluster)


class ManyHistories(Histories):
    """The same, for a campaign."""


Histories.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=25, deadline=None, derandomize=True, database=None
)
ManyHistories.TestCase.settings = settings(max_examples=5000, stateful_step_count=60, deadline=None)
TestHistories = Histories.TestCase
TestManyHistories = pytest.mark.campaign(ManyHistories.TestCase)
