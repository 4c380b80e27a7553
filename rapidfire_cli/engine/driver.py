"""The driver: carries the scheduler's actions to workers, and their reports back to it.

Theory of operation
-------------------
One loop, in one thread, which waits in a single place: for whatever a worker reports, or for the next commit.
A report is a fact. The scheduler takes it in and answers with actions, which become orders at once; the
journal takes it, too, and makes it durable with the others of a COMMIT_INTERVAL; then audiences are
shown it. The driver decides nothing: it knows which worker serves which slot, how far each run was durable at
the start, and why a run last failed, and asks the scheduler for the rest.

Invariants:

- Orders go out before facts are journaled, so that no worker waits for the disk. Nothing is lost by that:
  workers die with the controller, and a checkpoint repeats the metrics of the epochs that led to it.
- Audiences are shown only what is durable.
- A run is listed in the manifest before the scheduler may train it (`_admit`), after what it follows from.
- Nothing here blocks but the wait for workers and the disk: no pipe, no terminal, no audience.

Why this way: what happens depends on the order of reports alone, so tests drive the loop with fake workers.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import assert_never

from rapidfire_cli import facts
from rapidfire_cli.engine import messages
from rapidfire_cli.engine.gang import Gangs, born
from rapidfire_cli.engine.jobs import Bracket, CodeChanged, Job, NoWorker, Paused, Timeouts, entry, unplaced
from rapidfire_cli.engine.messages import Probe, Probed, Report
from rapidfire_cli.engine.ports import (
    Admission,
    Audience,
    Backend,
    BackendGone,
    Journal,
    NoRetry,
    Requests,
    Slot,
    Worker,
    WorkerGone,
)
from rapidfire_cli.engine.sharing import Shares
from rapidfire_cli.engine.watchdog import Watchdog
from rapidfire_cli.schedule import actions, events
from rapidfire_cli.schedule.scheduler import UNFINISHED_PHASES, Scheduler
from rapidfire_cli.schedule.transitions import RunPhase
from rapidfire_cli.terms import Run, RunState

OVER = {actions.Prune: RunState.PRUNED, actions.Stop: RunState.STOPPED, actions.Complete: RunState.COMPLETED}
COMMIT_INTERVAL = 0.1  # seconds between two commits, and between two looks at an idle clock (assumed)


class Driver:
    """Trains jobs on slots; first `probe`, then `train`, at last `close`."""

    def __init__(
        self,
        backend: Backend,
        stop_asked: Callable[[], bool],
        chunks: int = 1,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
        requests: Requests | None = None,
    ) -> None:
        self._backend = backend
        self._slots: Sequence[Slot] = ()  # as far as the scheduler knows them
        self._shares = Shares()
        self._stop_asked = stop_asked
        self._jobs: dict[int, Job] = {}
        self._scheduler = Scheduler(0, chunks)
        self._workers: dict[int, Worker] = {}
        self._ready: list[tuple[int, messages.Ready]] = []  # workers that wait for the probe's answer
        self._answer: Probed | None = None
        self._clock = clock
        self._facts: list[facts.Fact] = []
        self._timeouts = timeouts = timeouts or Timeouts()
        self._watchdog = Watchdog(timeouts.hang_timeout, clock)
        self._gangs = Gangs(self._workers, self._watchdog)
        self._failures: dict[int, facts.RunFailed] = {}  # how the worker ended that trained a run last
        self._untold: list[facts.Fact] = []  # taken by the journal, not yet durable
        self._due = 0.0  # when the next commit is, by the clock
        self._epochs: dict[int, int] = {}  # the last one heard of, by run
        self._begun: set[int] = set()
        self._admission: Admission | None = None
        self._requests = requests
        self._journal: Journal | None = None
        self._audience: Audience | None = None
        self._take_slots()

    def probe(self, question: Probe, expected: int) -> Probed | None:
        """Start workers for the `expected` runs; the first that is up answers. It may be asked again.

        None when a stop was asked for. Raises NoWorker, BackendGone.
        """
        self._tell(events.RunsExpected(expected))
        asked = self._answer = None
        while self._answer is None and not self._stop_asked():
            self._listen()
            if self._requests:
                self._requests.defer()
            if self._ready and self._ready[0] != asked:  # the first, or the next when that one is gone
                asked = self._ready[0]
                self._workers[asked[0]].send(question)
        return self._answer

    def train(
        self,
        jobs: Mapping[int, Job],
        brackets: Sequence[Bracket],
        journal: Journal,
        audience: Audience,
        admission: Admission | None = None,
    ) -> None:
        """Train the jobs, by run number, until every one is finished, or until a stop is durable.

        What is not durable after the grace is killed; its checkpoints stay. Raises Paused, BackendGone.
        """
        self._jobs, self._admission = {**jobs}, admission
        self._journal, self._audience = journal, audience
        self._epochs = {run: job.epoch for run, job in jobs.items()}
        self._add(brackets)
        for slot, report in self._ready:
            self._on_worker_ready(slot, report)
        deadline = math.inf
        while not self._finished and self._clock() < deadline:
            if self._stop_asked() and deadline == math.inf:
                deadline = self._clock() + self._timeouts.grace
                self._tell(events.StopAsked())
            self._take()
            if self._requests:
                self._requests.serve(self)
            self._take_proposals()
            self._take()
            if self._clock() >= self._due:
                self._publish()
            self._listen()
        self._take()
        if self._requests:
            self._requests.settle(self)
        left = sorted(run.run for run in self._scheduler.runs.values() if run.phase in UNFINISHED_PHASES)
        self.record([facts.RunChanged(run, RunState.INTERRUPTED) for run in left if run in self._begun])
        if left and not self._scheduler.stopping:
            raise BackendGone(f"no machine is left with enough devices for run {left[0]}")

    def _add(self, brackets: Sequence[Bracket]) -> None:
        """Let the scheduler know every job."""
        compared = {entry.run for bracket in brackets for entry in bracket.entries}
        free = (entry(job) for run, job in self._jobs.items() if run not in compared)
        self._tell(events.RunsAdded((*free,)))
        for bracket in brackets:
            self._tell(events.RunsAdded(bracket.entries, bracket.policy, bracket.number, bracket.metric))

    def _take(self) -> None:
        """Hand what happened to the journal while it is fresh: it is kept with the time."""
        assert self._journal
        fresh, self._facts = self._facts, []
        self._journal.take(fresh)
        self._untold += fresh
        if self._requests and fresh:
            self._requests.learn(fresh)

    def _publish(self) -> None:
        assert self._journal and self._audience
        self._journal.commit()
        if self._admission:
            self._admission.committed()
        untold, self._untold = self._untold, []
        self._audience.tell(untold)
        self._due = self._clock() + COMMIT_INTERVAL

    def note(self, happened: Sequence[facts.Fact]) -> None:
        self._facts += happened

    def record(self, happened: Sequence[facts.Fact] = ()) -> None:
        self._facts += happened
        self._take()
        self._publish()

    def stop_run(self, run: int, at_once: bool) -> bool:
        if (known := self._scheduler.runs.get(run)) is None or known.phase not in UNFINISHED_PHASES:
            return False
        self._tell(events.RunStopAsked(run))
        if at_once and known.phase is RunPhase.TRAINING:
            self._on_worker_died(known.home[0], "stopped", f"killed to stop run {run} at once")
        return True

    def resume_run(self, run: int) -> bool:
        if (known := self._scheduler.runs.get(run)) is None:
            return False
        if known.phase not in UNFINISHED_PHASES:
            self._begun.discard(run)
        self._tell(events.RunResumeAsked(run))
        return True

    def enlist(self, job: Job) -> None:
        run = job.assignment.run
        self._jobs[run], self._epochs[run] = job, job.epoch
        self._tell(events.RunsAdded((entry(job),)))

    def close(self) -> None:
        """End every worker at once; what is to be kept is durable already."""
        while self._workers:
            self._workers.popitem()[1].kill()

    def keep_next(self, run: int) -> bool:
        if job := self._jobs.get(run):
            self._jobs[run] = replace(job, assignment=replace(job.assignment, keep_next=True))
        return job is not None

    def admit(self, run: Run) -> None:
        self._tell(self._admit(run))

    def _take_slots(self) -> None:
        """Let the scheduler know the slots of machines that joined, or are about to go."""
        known, self._slots = self._slots, self._backend.slots
        if known is self._slots:
            return
        for _, machine in groupby(self._slots[len(known) :], lambda slot: slot.host):
            self._tell(events.SlotsAdded(len([*machine])))
        pairs = zip(known, self._slots, strict=False)
        if gone := tuple(now.index for before, now in pairs if now.withdrawn and not before.withdrawn):
            self._tell(events.SlotsWithdrawn(gone))

    def _listen(self) -> None:
        crew = {id(worker): slot for slot, worker in self._workers.items()}
        pause = max(0.0, self._due - self._clock()) if self._untold else COMMIT_INTERVAL
        heard = self._backend.wait([*self._workers.values()], pause)
        self._take_slots()
        for worker in heard:
            if self._workers.get(slot := crew[id(worker)]) is not worker:
                continue  # it ended with its gang
            try:
                for report in worker.receive():
                    if self._workers.get(slot) is worker:  # else it was replaced for what it just told
                        self._on_report(slot, report)
            except WorkerGone as gone:
                self._on_worker_died(slot, "died", str(gone))
        for slot, cause in self._watchdog.look():
            self._on_worker_died(slot, "hung", cause)

    def _on_report(self, slot: int, report: Report) -> None:
        match report:
            case messages.Ready():
                if self._answer is None:
                    self._ready.append((slot, report))
                else:
                    self._on_worker_ready(slot, report)
            case Probed():
                self._answer = report
            case facts.RunOpened(run, code):
                if self._answer and code != self._answer.code:
                    raise CodeChanged(run, self._answer.code, code)
                self._facts.append(report)
            case facts.EpochEnded():
                self._on_epoch_ended(report)
            case facts.CheckpointDamaged() | facts.DevicesChanged():
                self._facts.append(report)
            case facts.Saved():
                self._facts.append(report)
                self._tell(report)
            case facts.TurnEnded():
                self._watchdog.end(slot)
                self._facts.append(report)
                self._tell(report)
            case facts.Evicted(run):
                self._watchdog.close(run)
                self._tell(report)
            case facts.RunFailed(run, "disk", cause):
                raise Paused(f"run {run}: {cause}")
            case facts.RunFailed(kind="oom"):
                self._on_out_of_memory(slot, report)
            case facts.RunFailed(run, cause=cause):
                self._watchdog.end(slot)
                self._watchdog.close(run)
                self._facts += [report, facts.RunChanged(run, RunState.FAILED, cause)]
                if self._scheduler.runs[run].gang > 1:
                    died = facts.WorkerDied(slot, f"replaced: run {run} failed")
                    self._facts += self._gangs.end(died, self._scheduler.bound(slot))
                self._tell(report)
            case messages.Stranded(cause=cause):
                self._on_worker_died(slot, "died", cause)
            case messages.Smoked() | messages.Used():
                raise AssertionError(f"a driver does not ask for {report}")
            case _:
                assert_never(report)

    def _on_epoch_ended(self, report: facts.EpochEnded) -> None:
        """An opened run tells its finished epochs again; each counts once."""
        if report.epoch > self._epochs[report.run]:
            self._epochs[report.run] = report.epoch
            self._facts.append(report)
            self._tell(report)

    def _on_worker_ready(self, slot: int, report: messages.Ready) -> None:
        self._facts.append(facts.WorkerStarted(slot, report.pid, report.device, self._slots[slot].host))
        self._tell(events.WorkerReady(slot, report.room))

    def _on_worker_died(self, slot: int, kind: str, cause: str) -> None:
        """The worker is gone, or hangs and is to go; the run that it trains may be the reason.

        Raises NoWorker when it was the last, and the probe has no answer yet.
        """
        at, step = self._scheduler.slots[slot], self._workers[slot].heartbeat().step
        died = facts.WorkerDied(slot, cause, at.training, step if at.training else 0)
        for run in at.residents:
            self._failures[run] = facts.RunFailed(run, kind, f"worker {cause}", step)
        self._facts += self._gangs.end(died, self._scheduler.bound(slot))
        self._ready = [each for each in self._ready if each[0] != slot]
        self._tell(died)
        if self._answer is None and not self._workers:
            raise NoWorker(cause, slot)

    def _on_out_of_memory(self, slot: int, failure: facts.RunFailed) -> None:
        """The worker is replaced, as its memory is full of what is left; the run may be tried once more."""
        died = facts.WorkerDied(slot, f"replaced: {failure.cause}", failure.run, failure.step)
        self._facts += self._gangs.end(died, self._scheduler.bound(slot))
        given = self._shares.relieve(self._slots, self._scheduler, failure.run)
        if given:
            self._facts.append(facts.MemoryGiven(failure.run, given))
        self._facts += self._gangs.withdraw(given, failure.run, self._scheduler.bound)
        found = self._admission.retry(failure.run) if self._admission else NoRetry()
        retry, rest = (None, found.cause) if isinstance(found, NoRetry) else (found, "")
        self._failures[failure.run] = replace(failure, cause="; ".join(filter(None, [failure.cause, rest])))
        self._tell(events.MemoryRanOut(slot, failure.run, retry, given))

    def _admit(self, run: Run) -> events.RunsAdded:
        assert self._admission  # lists it in the manifest before anybody knows of it
        epochs, bracket = run.leaf["train"]["epochs"], self._admission.bracket_of(run)
        job = born(self._admission.admit(run), run, epochs * self._scheduler.chunks, self._slots)
        self._jobs[run.number], self._epochs[run.number] = job, 0
        self._facts.append(facts.RunAdmitted(run))
        if bracket:
            self._facts.append(facts.RunJoined(run.number, bracket, epochs))
        return events.RunsAdded((entry(job),), bracket=bracket or 0)

    def _take_proposals(self) -> None:
        """Admit the runs that are proposed, unless the fit is to stop; what they follow from is durable."""
        if self._admission and not self._scheduler.stopping and (proposed := self._admission.proposals()):
            self.record()
            for run in proposed:
                self.admit(run)

    @property
    def _finished(self) -> bool:
        """Whether nothing is left to do, and nothing more can be proposed."""
        awaited = any(source.is_open for source in (self._admission, self._requests) if source)
        return self._scheduler.finished and not (awaited and not self._scheduler.stopping)

    def _replace(self, run: int, by: Run, bracket: int | None) -> None:
        """Let another run take the place of one that ran out of memory."""
        self._admit(by)
        failure = self._failures[run]
        cause = f"{failure.cause}; replaced by run {by.number}"
        replaced = facts.RunReplaced(run, by, bracket)
        self._facts += [failure, replaced, facts.RunChanged(run, RunState.FAILED, cause)]

    def _tell(self, event: events.Event) -> None:
        for action in self._scheduler.step(event):
            self._do(action)

    def _do(self, action: actions.Action) -> None:
        match action:
            case actions.StartWorker(slot):
                self._workers[slot] = self._backend.start(self._shares.of(self._slots[slot]))
            case actions.Train(slots, (run,), until):
                self._begin(slots, run, until)
            case actions.Train(runs=runs):
                raise AssertionError(f"a turn of several runs, {runs}, which no scheduler gives")
            case actions.Evict(slots, run):
                self._gangs.send(slots, messages.Evict(run))
            case actions.EndTurn(slots):
                self._gangs.send(slots, messages.EndTurn())
            case actions.Decide(decision):
                self._facts.append(decision)
            case actions.Leave(run, bracket):
                self._facts.append(facts.RunLeft(run, bracket, "stopped by the user", worst=True))
            case actions.Prune(run) | actions.Stop(run) | actions.Complete(run):
                self._facts.append(facts.RunChanged(run, OVER[type(action)]))
            case actions.Replace(run, by, bracket):
                self._replace(run, by, bracket)
            case actions.GiveUp(run):
                failure = self._failures.get(run) or unplaced(self._scheduler.runs[run], len(self._slots))
                self._facts += [failure, facts.RunChanged(run, RunState.FAILED, failure.cause)]
            case _:
                assert_never(action)

    def _begin(self, slots: tuple[int, ...], run: int, until: int) -> None:
        if run not in self._begun:
            self._begun.add(run)
            self._facts.append(facts.RunChanged(run, RunState.RUNNING))
        self._facts.append(facts.TurnStarted(run, slots[0], until))
        limit = self._scheduler.runs[run].stretch(self._scheduler.chunks)
        self._gangs.begin(slots, run, messages.Train((self._jobs[run].assignment,), until, limit))
