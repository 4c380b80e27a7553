"""The scheduler: a state machine without I/O that decides which run trains where, and which run ends.

Theory of operation. The scheduler owns the state of every run (`RunEntry`), of every slot
(`SlotEntry`) and of every bracket's policy. `step` is its only entry point. It takes one event ("a turn
ended", "a worker died", "a person asked to stop run 3") and returns a list of actions ("train run 5 on slot 0
up to tick 4", "prune run 7"), which the driver carries out in order. The scheduler reads no clock, no files
and no random numbers, so equal events give equal actions. The dry run of `expand --slots` and the tests use
the same state machine with simulated workers.

The work is divided in three. This module handles how runs are added, wait between turns, and end. `placement`
knows which runs are resident where and whose turn is next. A policy turns the results of one bracket into
decisions, and the scheduler carries out their verdicts.

Invariants between two steps:

- A run is in one phase, and phases change only along the tables in `transitions`. Anything else raises
  IllegalTransition, because it is a bug of the driver or of this module.
- A run trains on one gang at a time, and never past its `limit`. Only a decision of its policy raises the
  limit, or a person who resumes the run outside its bracket.
- When a worker dies, its residents go back to `durable`, the ticks that a checkpoint holds. The workers of
  the gang runs among them end with it. A gang run that fails takes its workers with it.
- A stopped run gets no further turn; a pruned one trains at most to the rung where it was judged. Both
  leave their worker first, which makes them durable.
- A policy receives each epoch's value of each of its runs, or is informed that the run failed or left. So no
  bracket waits for a run that can no longer report.

Why this way: without side effects, every order of events can be tested, including failures, and a scheduler
that is rebuilt from another's state must decide the same. A turn costs O(log runs).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import assert_never

from rapidfire_cli.facts import (
    Decision,
    EpochEnded,
    Evicted,
    RunFailed,
    Saved,
    TurnEnded,
    WorkerDied,
    compared_value,
)
from rapidfire_cli.schedule import actions, events
from rapidfire_cli.schedule.placement import Placement
from rapidfire_cli.schedule.state import RunEntry, SlotEntry, has_gang, machine
from rapidfire_cli.schedule.transitions import IllegalTransition, RunPhase, SlotPhase
from rapidfire_cli.stopping.rule import OpenPolicy, Policy
from rapidfire_cli.terms import OomRetry, Run

MOST_DEATHS = 3  # a run that killed this many workers is tried once more, then given up (assumed)
UNFINISHED_PHASES = frozenset({RunPhase.WAITING, RunPhase.TRAINING, RunPhase.LEAVING})


class Scheduler:
    """Schedules runs on slots in turns; `step` is the only entry point. A decision costs O(log runs)."""

    def __init__(self, slots: int, chunks: int = 1) -> None:
        self.placement = Placement(machine(0, slots))
        self.policies: dict[int, Policy] = {}  # by bracket
        self.metrics: dict[int, str] = {}  # the metric that each policy compares, by bracket
        self.chunks = chunks  # ticks per epoch
        self.expected = 0  # runs that are about to be added
        self.stopping = False
        self._unfinished = 0
        self._unfinished_gangs = 0

    @property
    def slots(self) -> Sequence[SlotEntry]:
        return self.placement.slots

    @property
    def runs(self) -> dict[int, RunEntry]:
        return self.placement.runs

    @property
    def finished(self) -> bool:
        """Whether all runs have ended that can or, after a stop, all runs are durable."""
        if self.stopping:
            return self.placement.leaving == self.placement.busy == 0
        return self._unfinished == 0 or (self.placement.shrunk and self._stranded)

    @property
    def _stranded(self) -> bool:
        """Whether the machines that are left have too few slots for the runs that are left."""
        here = [slot for slot in self.slots if not slot.withdrawn]
        usable = [slot for slot in here if not slot.is_broken]
        left = [run for run in self.runs.values() if run.phase in UNFINISHED_PHASES]
        return bool(here) and not any(run.home or has_gang(usable, run.gang) for run in left)

    def step(self, event: events.Event) -> list[actions.Action]:
        """Process an event; return the actions to be carried out in order. Raises IllegalTransition."""
        actions = [*self._take(event)]
        is_quiet = not actions and isinstance(event, EpochEnded | Saved)  # it makes nothing ready
        if not (self.stopping or is_quiet):
            actions += self.placement.turns()
        return actions

    def _take(self, event: events.Event) -> Iterator[actions.Action]:
        match event:
            case events.RunsExpected(count):
                self.expected = count
                yield from self._start_workers()
            case events.RunsAdded():
                yield from self._add(event)
                yield from self._start_workers()
            case events.SlotsAdded(count):
                self.placement.slots += machine(len(self.slots), count)
                yield from self._start_workers()
            case events.SlotsWithdrawn(slots):
                yield from self._withdraw_slots(slots)
                yield from self._start_workers()
            case events.WorkerReady(slot, room):
                self.placement.open(self.slots[slot], room)
            case EpochEnded(run):
                yield from self._report(self._run(run), event)
            case TurnEnded(run, slot, at, size=size, shared=shared):
                self.placement.grow(max(size, 1))
                self.slots[slot].shared = shared
                yield from self._end_turn(self._run(run), slot, at)
            case Saved(run, at):
                self.placement.save(self._run(run), at)
            case Evicted(run, at):
                yield from self._settle(self._run(run), at)
            case RunFailed(run):
                yield from self._fail(self._run(run))
                yield from self._start_workers()
            case events.RunStopAsked(run):
                yield from self._stop_run(self._run(run))
            case events.RunResumeAsked(run):
                self._resume(self._run(run))
                yield from self._start_workers()
            case WorkerDied(slot):
                yield from self._on_worker_died(slot)
                yield from self._start_workers()
            case events.MemoryRanOut():
                yield from self._on_memory_ran_out(event, self._run(event.run))
                yield from self._start_workers()
            case events.StopAsked():
                yield from self._stop()
            case _:
                assert_never(event)

    # Adding runs

    def _add(self, added: events.RunsAdded) -> Iterator[actions.Action]:
        self.expected = 0
        if added.policy is not None:
            if added.bracket in self.policies:
                raise IllegalTransition(f"bracket {added.bracket} was added twice")
            self.policies[added.bracket] = added.policy
            self.metrics[added.bracket] = added.metric
        for entry in added.runs:
            joins = added.bracket and added.policy is None
            yield from self._enter(
                self._joined(entry, added.bracket) if joins else entry, added.bracket or None
            )

    def _joined(self, entry: events.NewRun, bracket: int) -> events.NewRun:
        """Let the run join an existing bracket; return it with the limit that the policy sets."""
        policy = self.policies.get(bracket)
        if not isinstance(policy, OpenPolicy):
            raise IllegalTransition(f"run {entry.run} cannot join bracket {bracket}")
        return replace(entry, limit=policy.join(entry.run, entry.goal // self.chunks) * self.chunks)

    def _enter(self, entry: events.NewRun, bracket: int | None) -> Iterator[actions.Action]:
        if entry.run in self.runs:
            raise IllegalTransition(f"run {entry.run} was added twice")
        limit = entry.goal if entry.limit is None else min(entry.limit, entry.goal)
        run = RunEntry(entry.run, entry.goal, limit, entry.durable, entry.durable, entry.gang, bracket)
        run.ending = RunPhase.PRUNED if entry.pruned else None
        self.placement.enter(run)
        self._count(run, 1)
        yield from self._rest(run)

    def _run(self, number: int) -> RunEntry:
        if run := self.runs.get(number):
            return run
        raise IllegalTransition(f"run {number} was never added")

    def _count(self, run: RunEntry, change: int) -> None:
        """Adjust the count of unfinished runs."""
        self._unfinished += change
        self._unfinished_gangs += change * (run.gang > 1)

    # Starting and losing workers

    def _start_workers(self) -> Iterator[actions.Action]:
        """Open a slot for every run, and all slots if there are gangs; give up runs that cannot be placed."""
        if self.stopping:
            return
        wanted = len(self.slots) if self._unfinished_gangs else max(self.expected, self._unfinished)
        yield from self.placement.start(wanted)
        for size in self.placement.unplaceable_sizes:
            for run in [run for run in self.runs.values() if run.gang == size]:
                if run.phase is RunPhase.WAITING:
                    yield from self._give_up(run)

    def _withdraw_slots(self, slots: Sequence[int]) -> Iterator[actions.Action]:
        for slot in slots:
            self.placement.withdraw(self.slots[slot])
        if not self.stopping:
            yield from self._clear(slots)

    def _clear(self, slots: Iterable[int]) -> Iterator[actions.Action]:
        """End the turns on these slots, and make what is trained there durable."""
        for slot in slots:
            for run in [self.runs[number] for number in self.slots[slot].residents]:
                if run.phase is RunPhase.TRAINING and slot == run.home[0]:
                    yield actions.EndTurn(run.home)
                elif run.phase is RunPhase.WAITING:
                    yield from self._rest(run)

    def _on_worker_died(self, slot: int) -> Iterator[actions.Action]:
        for run in self._close(slot, counts_as_crash=not self.slots[slot].withdrawn):
            if run.deaths > MOST_DEATHS and run.ending is not RunPhase.STOPPED:
                yield from self._give_up(run)
            else:
                yield from self._rest(run)

    def bound(self, slot: int) -> set[int]:
        """The other slots whose workers end with this slot's worker: they share resident gang runs."""
        found, left = {slot}, [slot]
        while left:
            homes = (self.runs[run].home for run in self.slots[left.pop()].residents)
            left += (more := {number for home in homes for number in home} - found)
            found |= more
        return found - {slot}

    def _close(self, slot: int, counts_as_crash: bool) -> list[RunEntry]:
        """Close the slot and those bound to it; return their residents. Only the slot's own run is blamed."""
        others = self.bound(slot)
        orphans = self.placement.close(self.slots[slot], counts_as_crash)
        for other in sorted(others):
            orphans += self.placement.close(self.slots[other], counts_as_crash=False)
        return orphans

    def _on_memory_ran_out(self, event: events.MemoryRanOut, run: RunEntry) -> Iterator[actions.Action]:
        """Retry a run that ran out of memory alone on its slots, for which other slots may be withdrawn.

        A run that was alone, and gets no more memory, is too large: it is replaced or given up, and the
        slots' former limits apply again. The end of the workers does not count as a death.
        """
        home, alone, too_large = run.home, run.alone, run.alone and not event.withdrawn
        for number in home if too_large or not alone else ():
            self.slots[number].crowd_out(undo=too_large)
        orphans = self._close(event.slot, counts_as_crash=False)
        for slot in map(self.slots.__getitem__, event.withdrawn):
            self.placement.withdraw(slot)
            orphans += self._close(slot.slot, False) if slot.phase is not SlotPhase.CLOSED else []
        if too_large:
            wanted = event.retry if run.ending is None else None
            yield from self._replace(run, wanted) if wanted else self._give_up(run)
        elif not (self.stopping or run.ends or self.slots[event.slot].withdrawn):
            yield from self.placement.isolate(run, home)
        for orphan in (each for each in orphans if each.phase is RunPhase.WAITING):
            yield from self._rest(orphan)

    # Ending turns

    def _end_turn(self, run: RunEntry, slot: int, at: int) -> Iterator[actions.Action]:
        if run.home[:1] != (slot,):
            raise IllegalTransition(f"run {run.run} trains on {run.home}, not on slot {slot}")
        self.placement.end_turn(run, at)
        if run.trained >= run.goal:
            yield from self._end(run, actions.Complete(run.run))
        else:
            yield from self._rest(run)

    def _rest(self, run: RunEntry) -> Iterator[actions.Action]:
        """Continue with a waiting run: queue it, or evict it if it must become durable, or end it."""
        if run.home and (run.ends or self._must_leave(run)):
            yield self.placement.evict(run)
        elif run.ends:
            pruned = run.ending is RunPhase.PRUNED
            yield from self._end(run, actions.Prune(run.run)) if pruned else self._stopped(run)
        else:
            self.placement.enqueue(run)

    def _must_leave(self, run: RunEntry) -> bool:
        """Whether a waiting run must become durable for another reason than its own end."""
        if self.stopping:
            return run.trained > run.durable
        return self.slots[run.home[0]].withdrawn  # the machine's, so those of the whole gang

    def _settle(self, run: RunEntry, at: int) -> Iterator[actions.Action]:
        self.placement.settle(run, at)
        yield from self._rest(run)

    # Ending runs

    def _stopped(self, run: RunEntry) -> Iterator[actions.Action]:
        """End a stopped run and remove it from its bracket, which ranks it worst from now on."""
        yield from self._end(run, actions.Stop(run.run))
        if run.bracket is not None:
            yield actions.Leave(run.run, run.bracket)
        yield from self._withdraw(run, failed=True)

    def _end(self, run: RunEntry, action: actions.Ending) -> Iterator[actions.Action]:
        self.placement.move(run, type(action))
        self.placement.leave(run)  # the worker drops a completed run; any other run was evicted
        self._count(run, -1)
        yield action

    def _fail(self, run: RunEntry) -> Iterator[actions.Action]:
        """End a failed run. The workers of a gang end with it: some of them wait for the one that failed."""
        gang = run.home if run.gang > 1 else ()
        if run.phase is RunPhase.TRAINING:
            self.placement.free(run.home, RunFailed)
        self.placement.move(run, RunFailed)
        self.placement.leave(run)
        self._count(run, -1)
        for slot in gang:
            if self.slots[slot].phase is not SlotPhase.CLOSED:
                for orphan in self._close(slot, counts_as_crash=False):
                    yield from self._rest(orphan)
        yield from self._withdraw(run, failed=True)

    def _give_up(self, run: RunEntry) -> Iterator[actions.Action]:
        yield from self._end(run, actions.GiveUp(run.run))
        yield from self._withdraw(run, failed=True)

    def _replace(self, run: RunEntry, retry: Run) -> Iterator[actions.Action]:
        """Replace the run; `retry` takes its place in the bracket unless the run has results there."""
        bracket = run.bracket
        inside = bracket is not None and self.policies[bracket].replace(run.run, retry.number)
        origin = OomRetry(run.run, apart=bracket is not None and not inside)
        yield from self._end(run, actions.Replace(run.run, replace(retry, origin=origin), bracket))
        taken = events.NewRun(retry.number, run.goal, gang=run.gang, limit=run.limit if inside else None)
        yield from self._enter(taken, bracket if inside else None)
        if inside:
            run.bracket = None
        else:
            yield from self._withdraw(run, failed=True)

    # Decisions of brackets

    def _report(self, run: RunEntry, ended: EpochEnded) -> Iterator[actions.Action]:
        if run.bracket is not None:
            value = compared_value(ended.metrics, self.metrics[run.bracket])
            yield from self._decide(self.policies[run.bracket].report(run.run, ended.epoch, value))

    def _withdraw(self, run: RunEntry, failed: bool) -> Iterator[actions.Action]:
        bracket, run.bracket = run.bracket, None
        if bracket is not None:
            yield from self._decide(self.policies[bracket].withdraw(run.run, failed))

    def _decide(self, decisions: Iterable[Decision]) -> Iterator[actions.Action]:
        for decision in decisions:
            yield actions.Decide(decision)
            for verdict in decision.verdicts:
                if (run := self.runs.get(verdict.run)) is None:  # it ended before it was added
                    continue
                if verdict.promoted:
                    self.placement.allow(run, decision.limit(verdict.run) * self.chunks)
                elif run.phase in UNFINISHED_PHASES:
                    run.bracket = None
                    if run.ending is not RunPhase.STOPPED:  # a stopped run gets no further turn
                        self.placement.end_as(run, RunPhase.PRUNED)
                    if run.phase is RunPhase.WAITING:
                        yield from self._rest(run)

    # Requests

    def _stop_run(self, run: RunEntry) -> Iterator[actions.Action]:
        """Stop the run once it is durable. Until then its bracket waits for it, and it can be resumed there.

        A run that has ended, or is about to stop, does not change.
        """
        if run.ending is RunPhase.STOPPED or run.phase not in UNFINISHED_PHASES:
            return
        self.placement.end_as(run, RunPhase.STOPPED)
        if run.phase is RunPhase.WAITING:
            yield from self._rest(run)
        elif run.phase is RunPhase.TRAINING and not self.stopping:
            yield actions.EndTurn(run.home)

    def _resume(self, run: RunEntry) -> None:
        """Resume a run; if it has ended, it trains outside its bracket; if not, it keeps its place.

        An unfinished run that is not about to end does not change. For a failed run, the count of deaths
        starts again.
        """
        if run.phase in UNFINISHED_PHASES:
            if run.ending is RunPhase.STOPPED:
                self.placement.renew(run, run.limit if run.bracket is not None else run.goal)
            elif run.ending is RunPhase.PRUNED:
                self.placement.renew(run, run.goal)
            return
        self.placement.move(run, events.RunResumeAsked)
        self._count(run, 1)
        run.bracket, run.deaths = None, 0
        self.placement.renew(run, run.goal)

    def _stop(self) -> Iterator[actions.Action]:
        if not self.stopping:
            self.stopping = True
            yield from self._clear(range(len(self.slots)))
