"""The executor: opens, trains, saves and evicts the runs that are resident on a worker.

Theory of operation
-------------------
The executor owns the resident runs of one worker process (`LiveRun`: model, optimizer, position). It takes
orders one by one: probe, smoke, train until a tick, evict. It sends reports through `tell`: an epoch's
metrics, a checkpoint saved, a turn ended, a run failed. Between two optimizer steps it reports progress to
the watchdog and, every few milliseconds, calls `stop_requested`.

A turn opens the run if it is not resident (from its newest undamaged checkpoint, or from the start). It
installs the run's random streams and process settings, advances the training loop from mark to mark, and
restores the process. A run that reaches its goal is saved, its final weights are published, and it leaves the
worker. So runs that share a process do not affect each other, except through state of the user's modules and
classes.

Checkpoints are due by the clock. A run that trains is saved after `checkpoint_every` seconds of training. A
run that waits is saved when its oldest unsaved training is that old, in the worker's idle time or in at
most a tenth (SHARE) of a busy worker's time.

Invariants:

- Saving, evicting and completing happen only at a mark where the run is whole: after an optimizer step or
  an epoch. An interrupted validation is undone first.
- An error in user code fails only that run. A disk error is reported as a failure of kind `disk`, which
  pauses the whole experiment.
- `Evicted`, and the `TurnEnded` of a run that reached its goal, are reported after the run is durable.
- If a run writes to frozen weights that it shares, the other runs are reopened with unchanged weights.
- When a run is opened, its finished epochs are reported again, in case a report was lost with a worker.

Why this way: importing torch and the user's code takes seconds, and a turn takes milliseconds. A long-lived
process that switches between run objects pays the import only once.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from rapidfire_cli.durable import disk
from rapidfire_cli.engine.local.log_rotation import LOG
from rapidfire_cli.engine.messages import (
    Assignment,
    Evict,
    Probe,
    Probed,
    Report,
    Setup,
    Smoke,
    Smoked,
    Train,
    Use,
    Used,
)
from rapidfire_cli.facts import CheckpointDamaged, DevicesChanged, Evicted, RunFailed, Saved, TurnEnded
from rapidfire_cli.training import checkpoint, rng, spec
from rapidfire_cli.training.failure import Failure, guard_own_io, guard_user_code
from rapidfire_cli.training.gang import Gang
from rapidfire_cli.training.live_run import LiveRun
from rapidfire_cli.training.log import logged, printing, say
from rapidfire_cli.training.loop import Mark, may_stop, rewind
from rapidfire_cli.training.next_mark import GLANCE, Next, ends_tick, is_enough, is_kept, marks
from rapidfire_cli.training.opening import opened, prepares, shared
from rapidfire_cli.training.preparing import counted, prepare
from rapidfire_cli.training.probe import probe
from rapidfire_cli.training.ranks import Ranks
from rapidfire_cli.training.smoke import smoke
from rapidfire_cli.training.spec import SpecProblem
from rapidfire_cli.training.state import Structure
from rapidfire_cli.training.using import use

__all__ = ["Executor", "SpecProblem"]

TRACED = 16_384  # characters of a traceback in a report; the log has all of it (assumed)
SHARE = 0.1  # share of a busy worker's time that may be spent on saving waiting runs (assumed)
IDLE = 0.05  # seconds without an order after which a worker is idle (assumed; usually an order is waiting)


class Executor:
    """Executes a worker's orders. Waiting runs keep their state and their random streams in memory."""

    def __init__(
        self,
        setup: Setup,
        tell: Callable[[Report], None],
        stop_requested: Callable[[], bool],
        progress: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
        room: int = 2**62,
    ) -> None:
        """Import the MLSpec. `room` is the memory for waiting runs, in bytes. Raises SpecProblem."""
        self._home = Path.cwd()  # user code may change the working directory
        places = (setup.misc, setup.prepared, setup.rows, setup.gangs)
        misc, prepared, rows, gangs = (str(self._home / place) for place in places)
        self._setup = replace(setup, misc=misc, prepared=prepared, rows=rows)
        self._ranks = Ranks(Path(gangs), torch.device(setup.device), tell)
        self._tell = self._ranks.tell
        self._stop_requested = stop_requested
        self._stop_asked = False  # in the current turn
        self._progress = progress
        self._clock = clock
        self._shared = shared(self._setup, spec.load(setup.mlspec), room)
        self._runs: dict[int, LiveRun] = {}
        self._checked: set[Structure] = set()  # structures of runs whose state can be saved
        self._unsaved: dict[int, float] = {}  # by run: the time since which it is unsaved, oldest first
        self._saving: dict[int, float] = {}  # by run: the seconds that its last checkpoint took
        self._spare_due = 0.0  # the time from which a busy worker may save the next waiting run

    def start(self) -> None:
        """Record the settings of the process that every run starts with."""
        with printing():
            self._shared.settings.take()

    def probe(self, order: Probe) -> Probed:
        """Check leaf configs without training."""
        with self._shared.settings.apart():
            if order.prepare and (failed := prepare(order.prepare, self._shared)):
                return Probed((failed,))
            return replace(probe(order, self._shared), prepares=prepares(self._shared.spec))

    def smoke(self, order: Smoke) -> Smoked:
        """Check a leaf config by training one batch."""
        with self._shared.settings.apart():
            return counted(smoke(order, self._shared), self._shared)

    def use(self, order: Use) -> Used:
        """Evaluate, predict with or export a trained run."""
        with printing(), self._shared.settings.apart():
            return use(replace(order, assignment=self._placed(order.assignment)), self._shared)

    def train(self, order: Train) -> None:
        """Train each run for a turn; errors in user code fail only that run."""
        for assignment in map(self._placed, order.runs):
            self._ranks.begin(assignment.run, order.rank)
            self._accounted(assignment, partial(self._turn, assignment, order))

    def evict(self, order: Evict) -> None:
        """Save the run and release it."""
        if run := self._runs.get(order.run):
            self._accounted(run.assignment, partial(self._let_go, run))

    def close(self) -> None:
        """End the data workers of this worker."""
        self._shared.rows.stop()

    def spare(self, idle: bool) -> float | None:
        """Save the resident run whose checkpoint is overdue longest.

        A worker that is not `idle` spends no more than a SHARE of its time on that. Returns the seconds until
        the next call is useful, or None if nothing is unsaved.
        """
        waiting = (since for run, since in self._unsaved.items() if self._runs[run].gang is None)
        if (oldest := next(waiting, None)) is None:
            return None
        now = self._clock()
        if (overdue := self._overdue(now)) is None:
            return oldest + self._setup.checkpoint_every - now
        if not idle and now < self._spare_due:
            return IDLE
        self._save_waiting(overdue, now)
        return 0.0

    def _overdue(self, now: float, besides: int = -1) -> int | None:
        """The run that has been unsaved longest, if its checkpoint is due; None otherwise.

        A gang saves its run when a turn ends, since its ranks do not wait together.
        """
        for number, since in self._unsaved.items():
            if number != besides and self._runs[number].gang is None:
                return number if now - since >= self._setup.checkpoint_every else None
        return None

    def _save_waiting(self, number: int, now: float) -> float:
        """Save a waiting run and return the time. A failed save is retried later, or in the run's turn."""
        run, settings = self._runs[number], self._shared.settings
        log = Path(run.assignment.directory) / LOG
        try:
            with guard_own_io(), logged(log), guard_user_code(), settings.apart(), settings.of(number):
                self._save(run)
        except Failure as failure:
            self._unsaved.pop(number)
            self._unsaved[number] = now
            if failure.kind == "disk":
                self._tell(RunFailed(number, failure.kind, failure.cause, run.step))
        return self._spent(now)

    def _spent(self, since: float) -> float:
        """Account for a save that began at `since`, which delays the next one by SHARE; return the time."""
        now = self._clock()
        self._spare_due = now + (now - since) * (1 - SHARE) / SHARE
        return now

    def _placed(self, assignment: Assignment) -> Assignment:
        """Return the assignment with an absolute directory; of a resident run, its current assignment."""
        if run := self._runs.get(assignment.run):
            run.assignment = replace(run.assignment, keep_next=assignment.keep_next)
            return run.assignment
        return replace(assignment, directory=str(self._home / assignment.directory))

    def _accounted(self, assignment: Assignment, work: Callable[[], None]) -> None:
        """Run `work` with its output in the run's log, and report its failure."""
        directory = Path(assignment.directory)
        with ExitStack() as stack:
            try:
                with guard_own_io():
                    if not self._ranks.is_silent(assignment.run):
                        if assignment.run not in self._runs:
                            disk.make_directory(directory, below=directory.parents[1], lasting=False)
                        stack.enter_context(logged(directory / LOG))
                stack.enter_context(self._shared.settings.of(assignment.run))
                work()
            except Failure as failure:
                if self._ranks.are_lost(assignment.run, failure):
                    return
                run = self._runs.get(assignment.run)
                say(f"rapidfire: the run failed: {failure.cause}")
                if run:
                    self._protect_others(run)
                self._drop(assignment.run)
                step = run.step if run else 0
                self._tell(
                    RunFailed(assignment.run, failure.kind, failure.cause, step, failure.traceback[-TRACED:])
                )
        if assignment.run not in self._runs:
            self._shared.settings.forget(assignment.run)

    def _turn(self, assignment: Assignment, order: Train) -> None:
        run = self._resident(assignment, self._ranks.gang(order.rank))
        if run.ticks < order.until:
            run.enter()
            end = self._advance(run, order.until, order.limit)
            run.leave()
            self._protect_others(run)
            if Next.STOP in end:
                self._save_as_it_is(run)
            elif Next.SAVE in end:
                self._save(run)
        if run.ticks >= run.goal:
            self._complete(run)
        alone = [each.frozen for each in self._runs.values()] if len(self._runs) == 1 else []
        self._tell(
            TurnEnded(
                assignment.run,
                self._setup.slot,
                run.ticks,
                run.step,
                run.partial_metrics,
                self._size(run),
                self._shared.pool.shared(*alone),
            )
        )

    def _size(self, run: LiveRun) -> int:
        """Return the bytes that the run takes while it waits: its tensors, or the process's growth per run.

        Frozen weights count if no other run uses them. If only one run is resident, its frozen weights are
        assumed to be shared with later runs.
        """
        alone = len(self._runs) == 1
        size = run.size + (0 if alone else self._shared.pool.exclusive(run.frozen))
        if self._shared.device.type == "cpu":
            return max(size, self._shared.growth.each(len(self._runs)))
        return size

    def _protect_others(self, run: LiveRun) -> None:
        """Save the runs that share frozen weights to which this run wrote, and mark them for reopening."""
        disturbed = self._shared.pool.written(run.frozen)
        for number, other in [*self._runs.items()] if disturbed else ():
            if other.frozen in disturbed:
                other.disturbed = True
                if other.durable != other.position:
                    self._save_waiting(number, self._clock())

    def _let_go(self, run: LiveRun) -> None:
        self._save_as_it_is(run)
        self._drop(run.assignment.run)
        self._tell(Evicted(run.assignment.run, run.ticks))

    def _resident(self, assignment: Assignment, gang: Gang | None) -> LiveRun:
        """Return the run. If it must be opened, report its finished epochs again, in case one was lost."""
        resident = self._runs.get(assignment.run)
        if resident is None or resident.rewound or resident.disturbed or resident.gang is not gang:
            if resident:
                resident.frozen.release()
            with guard_user_code():
                run = opened(assignment, self._shared, gang=gang)
            if gang is None:  # another run that wrote to shared weights would have it reopened on one rank
                self._shared.pool.join(run.frozen, run.model)
            self._runs[assignment.run] = run
            self._tell(run.fingerprint)
            for damage in run.damaged:
                say(f"rapidfire: skipped a damaged checkpoint: {damage}")
                self._tell(CheckpointDamaged(assignment.run, damage))
            if run.trained_by is not None:
                self._tell(DevicesChanged(assignment.run, run.trained_by, run.share.size))
            for ended in run.history:
                self._tell(ended)
        return self._runs[assignment.run]

    def _advance(self, run: LiveRun, until: int, limit: int) -> Next:
        """Train to `until` ticks or, if that is quick, on to `limit`; return how the turn ended.

        An extended turn ends with an epoch: metrics within an epoch cost more than a short epoch.
        """
        entered = began = look_due = self._clock()
        from_ticks, self._stop_asked = run.ticks, False
        for mark in marks(run, self._checked):
            now = self._clock()
            run.pass_time(now - began)
            self._progress(run.step)
            if now < look_due and run.gang is None and not ends_tick(run, mark):
                began = now
                continue
            look_due = now + GLANCE
            if mark is Mark.EPOCH:
                self._tell(run.record_epoch())
            self._unsaved.setdefault(run.assignment.run, began)
            ticks, left = run.ticks, limit - run.ticks
            is_over = left <= 0 or (mark is Mark.EPOCH and is_enough(now - entered, ticks - from_ticks, left))
            decision = self._decided(run, mark, now, ticks >= until and is_over)
            if decision and self._carried_out(run, mark, decision):
                return decision
            began = now if mark is Mark.VALIDATION_BATCH else self._checkpointed(run, now, decision)
        return Next.GO_ON

    def _carried_out(self, run: LiveRun, mark: Mark, decision: Next) -> bool:
        """Do at a mark what cannot wait; return whether the turn ends."""
        if Next.KEEP in decision:
            run.streams = rng.capture()
            self._save(run, keep=True)
        if Next.STOP in decision and mark is Mark.VALIDATION_BATCH:
            rewind(run)
        return Next.END in decision

    def _decided(self, run: LiveRun, mark: Mark, now: float, reached: bool) -> Next:
        """Decide what to do at a mark; the turn has `reached` its end or not. Rank 0 decides for a gang."""
        decision = Next.GO_ON
        if run.share.leads:
            if mark is Mark.EPOCH and is_kept(run):
                decision |= Next.KEEP
            self._stop_asked = self._stop_requested() or self._stop_asked
            stopped = self._stop_asked and may_stop(run, mark)
            if stopped or reached:
                decision |= Next.STOP | Next.END if stopped else Next.END
            if self._is_due(run, now, ends=stopped or reached):
                decision |= Next.SAVE
        return Next(run.gang.agree(decision)) if run.gang else decision

    def _is_due(self, run: LiveRun, now: float, ends: bool) -> bool:
        """Whether the run that trains is to be saved; a gang at the end of a turn, unless that takes long."""
        every, number = self._setup.checkpoint_every, run.assignment.run
        if ends:
            took = self._saving.get(number, 0.0)
            return run.gang is not None and (run.unsaved >= every or took <= SHARE * run.unsaved)
        return run.unsaved >= every or (now >= self._spare_due and now - self._unsaved[number] >= every)

    def _checkpointed(self, run: LiveRun, now: float, decision: Next) -> float:
        """Save the run that trains, or else a waiting one, if its checkpoint is due; return the time."""
        if decision and Next.SAVE in decision:
            run.streams = rng.capture()
            self._save(run)
            return self._spent(now)
        overdue = self._overdue(now, besides=run.assignment.run) if now >= self._spare_due else None
        return now if overdue is None else self._save_waiting(overdue, now)

    def _save(self, run: LiveRun, keep: bool = False) -> None:
        began = self._clock() if run.gang else 0.0
        checkpoint.save(run)
        if keep:
            checkpoint.keep(run)
        if run.gang:
            self._saving[run.assignment.run] = self._clock() - began
        self._unsaved.pop(run.assignment.run, None)
        self._tell(Saved(run.assignment.run, run.ticks, run.step))

    def _save_as_it_is(self, run: LiveRun) -> None:
        """Save a run that may never continue, and publish the weights of its best epoch."""
        if run.durable != run.position:
            self._save(run)
        if run.share.leads:
            checkpoint.show_best(run)

    def _complete(self, run: LiveRun) -> None:
        if run.durable != run.position:
            self._save(run)
        if run.share.leads:
            checkpoint.finish(run, self._setup.keep)
        self._drop(run.assignment.run)

    def _drop(self, number: int) -> None:
        if run := self._runs.pop(number, None):
            run.frozen.release()
        self._unsaved.pop(number, None)
        self._saving.pop(number, None)
        self._shared.rows.release(number)
