"""Carry out requests: decide, make the decision durable, act, answer.

Theory of operation. `Steering` holds where every run is (a fold over facts), and the answers so far.
A request that has an effect is first added to `requests.jsonl`; then it takes effect; then request, answers
and effects become durable together in the journal; then it is answered. So a kill at any moment either loses
a request that nobody was told about, or leaves it in the file, from which the next process that holds the
lock carries it out (`offline.catch_up`). Carrying one out twice is harmless, because a decision depends on
where the run is by then.

The same code serves a live fit, whose driver changes what the scheduler does (`Fleet`), and a verb that holds
the lock itself, where nothing is training and only the record changes.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import assert_never

from rapidfire_cli.app.control import side_file, trash
from rapidfire_cli.app.control.cloning import Cloning, NoneYet
from rapidfire_cli.control.decisions import Effect, Ruling, decide
from rapidfire_cli.control.intents import intents
from rapidfire_cli.control.standing import Standing, Standings, learn
from rapidfire_cli.control.undoing import undone
from rapidfire_cli.engine.jobs import Job
from rapidfire_cli.engine.ports import Fleet
from rapidfire_cli.facts import (
    Fact,
    RequestTaken,
    RunAdmitted,
    RunChanged,
    RunLeft,
    RunOpened,
    RunPurged,
    Saved,
)
from rapidfire_cli.problems import Refusal
from rapidfire_cli.requests import Answer, CloneRun, Keep, Release, Request, Stop, Undo, subject
from rapidfire_cli.store.known_runs import KnownRun
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.terms import UNFINISHED, Run, RunState

DONE = (None, Effect.KEEP, Effect.RELEASE, Effect.CLONE)  # what needs no entry in `requests.jsonl`


class Steering:
    """Carries out requests about the runs of one experiment, one after the other."""

    def __init__(
        self,
        home: ExperimentDir,
        runs: Iterable[Run],
        standings: Standings,
        taken: Iterable[RequestTaken],
        cloning: Cloning,
        job: Callable[[int], Job | None] = lambda run: None,
    ) -> None:
        """`job` says how a run is trained that this fit has not trained so far; None if it never does."""
        self.standings = standings
        self._home = home
        self._runs = {run.number: run for run in runs}
        self._taken = [*taken]
        self._answered = {each.request.id: each.answers for each in self._taken}
        self._intents = intents(self._taken)  # that may not have come about
        self._cloning = cloning
        self._born: dict[int, Run] = {}  # clones that are about to be admitted
        self._job = job
        self._awaiting = [
            (answer.run, about)
            for each in self._taken
            for answer in each.answers
            if answer.outcome == "accepted" and isinstance(about := subject(each.request), CloneRun)
        ]  # clones that wait for the end of an epoch of a run
        self._asked: set[int] = set()  # runs that were asked to keep one
        self._saved = {run for run, _ in self._awaiting}  # runs of which more may be durable

    @property
    def awaits(self) -> bool:
        """Whether a clone waits for a run that trains."""
        return any(self.standings[run].state in UNFINISHED for run, _ in self._awaiting)

    def handle(self, request: Request, fleet: Fleet) -> tuple[Answer, ...]:
        """Decide about the request and carry it out; the answers. Raises OSError when the disk refuses."""
        if request.id in self._answered:
            return self._answered[request.id]
        request, rulings = self._decided(request)
        if any(ruling.effect not in DONE for ruling in rulings):
            side_file.note(self._home, request)
        taken = RequestTaken(request, tuple(ruling.answer for ruling in rulings))
        fleet.note([taken])
        for ruling in rulings:
            self._carry_out(request, ruling, fleet)
        fleet.record()
        self._taken.append(taken)
        self._answered[request.id] = taken.answers
        self.settle(fleet)
        return taken.answers

    def settle(self, fleet: Fleet) -> None:
        """Complete what was asked for before, as far as that can be done. Raises OSError."""
        self._clone_awaited(fleet)
        resting = {run: effect for run, effect in self._intents.items() if self._rests(run)}
        for run, effect in resting.items():
            del self._intents[run]
            if self.standings[run].state in UNFINISHED:
                self._stop(run, False, fleet)
            if effect is Effect.DELETE and self.standings[run].state is not RunState.DELETED:
                fleet.record()
                trash.throw_away(self._home, self._runs[run])
                fleet.note([RunChanged(run, RunState.DELETED)])
        if resting:
            fleet.record()

    def learn(self, facts: Sequence[Fact]) -> None:
        """Take in what happened."""
        for fact in facts:
            if isinstance(fact, RunAdmitted):
                self._runs[fact.run.number] = fact.run
            elif isinstance(fact, RunOpened):
                self._cloning.code = fact.code
            elif isinstance(fact, Saved | RunChanged):
                self._saved.add(fact.run)
            learn(self.standings, fact)

    def kept(self) -> Collection[int]:
        """The runs of which people keep an epoch end."""
        found: set[int] = set()
        for each in self._taken:
            runs = {answer.run for answer in each.answers if answer.outcome == "applied"}
            if isinstance(about := subject(each.request), Keep):
                found |= runs
            elif isinstance(about, Release):
                found -= runs
        return found

    def _clone_awaited(self, fleet: Fleet) -> None:
        """Make the clones that waited for the end of an epoch, where it is durable now."""
        for run in {run for run, _ in self._awaiting} - self._asked:
            if fleet.keep_next(run):
                self._asked.add(run)
        saved, self._saved = self._saved, set()
        for run, about in [each for each in self._awaiting if each[0] in saved]:
            try:
                clone = self._cloning.clone(self._runs[run], about, self._runs)
            except NoneYet:
                continue
            except Refusal:  # it was made before, or cannot be made any more
                self._awaiting.remove((run, about))
                continue
            self._awaiting.remove((run, about))
            fleet.admit(clone)
            fleet.record()

    def _rests(self, run: int) -> bool:
        return run in self.standings and self.standings[run].state is not RunState.RUNNING

    def _decided(self, request: Request) -> tuple[Request, tuple[Ruling, ...]]:
        """The request, with what it means, and the rulings about it."""
        if isinstance(request.ask, Undo) and request.means is None:
            means = undone(self._taken, request.uid)
            if isinstance(means, str):
                return request, (Ruling(Answer(0, "refused", means)),)
            request = replace(request, means=means)
        rulings = decide(request, self.standings)
        if isinstance(about := subject(request), CloneRun):
            return request, tuple(self._cloned(ruling, about) for ruling in rulings)
        if isinstance(about, Keep):
            return request, tuple(map(self._kept, rulings))
        if isinstance(about, Release):
            return request, tuple(map(self._released, rulings))
        return request, rulings

    def _cloned(self, ruling: Ruling, about: CloneRun) -> Ruling:
        """Make the clone that was decided about; it may be impossible. Raises OSError."""
        if ruling.effect is not Effect.CLONE:
            return ruling
        run, known = ruling.answer.run, {**self._runs, **self._born}
        try:
            clone = self._cloning.clone(known[run], about, known)
        except Refusal as refusal:
            if about.wait and isinstance(refusal, NoneYet) and self.standings[run].state in UNFINISHED:
                self._awaiting.append((run, about))
                return Ruling(Answer(run, "accepted", f"waits for the end of an epoch of run {run}"))
            first = refusal.problems[0]
            return Ruling(Answer(run, "refused", first.message, first.hint))
        self._born[clone.number] = clone
        answer = replace(ruling.answer, text=f"cloned as run {clone.number}", born=clone.number)
        return Ruling(answer, Effect.CLONE)

    def _kept(self, ruling: Ruling) -> Ruling:
        """Keep the checkpoint that was decided about, at once: doing so twice changes nothing."""
        if ruling.effect is None:
            return ruling
        try:
            epoch = self._cloning.keep(self._runs[ruling.answer.run])
        except Refusal as refusal:
            first = refusal.problems[0]
            return Ruling(Answer(ruling.answer.run, "refused", first.message, first.hint))
        return Ruling(replace(ruling.answer, text=f"kept the end of epoch {epoch}"), ruling.effect)

    def _released(self, ruling: Ruling) -> Ruling:
        """Delete the epoch end that was kept last, at once, if no other run begins with it."""
        if ruling.effect is None:
            return ruling
        run = self._runs[ruling.answer.run]
        epoch = self._cloning.release(run, self._runs.values())
        text = f"the end of epoch {epoch} is no longer kept" if epoch else "nothing is kept"
        return Ruling(replace(ruling.answer, text=text), ruling.effect)

    def _carry_out(self, request: Request, ruling: Ruling, fleet: Fleet) -> None:
        run, about = ruling.answer.run, subject(request)
        if ruling.effect not in DONE:
            self._intents.pop(run, None)
        match ruling.effect:
            case Effect.STOP:
                self._intents[run] = Effect.STOP
                self._stop(run, isinstance(about, Stop) and about.at_once, fleet)
            case Effect.RESUME:
                self._resume(run, fleet)
            case Effect.DELETE:
                self._intents[run] = Effect.DELETE
                if self.standings[run].state in UNFINISHED:
                    self._stop(run, False, fleet)
                    self.standings[run] = replace(self.standings[run], deleting=True)
            case Effect.RESTORE:
                self._restore(run, fleet)
            case Effect.PURGE:
                trash.purge(self._home, self._runs[run])
                fleet.note([RunPurged(run)])
            case Effect.CLONE:
                fleet.admit(self._born.pop(ruling.answer.born))
            case Effect.KEEP | Effect.RELEASE | None:
                pass
            case _:
                assert_never(ruling.effect)

    def _stop(self, run: int, at_once: bool, fleet: Fleet) -> None:
        standing = self.standings[run]
        self.standings[run] = replace(standing, stopping=True)
        if not fleet.stop_run(run, at_once):
            fleet.note([*self._left(run, "stopped by the user"), RunChanged(run, RunState.STOPPED)])

    def _resume(self, run: int, fleet: Fleet) -> None:
        standing = self.standings[run]
        if standing.stopping:
            self.standings[run] = replace(standing, stopping=False, deleting=False)
            fleet.resume_run(run)
            return
        fleet.note([*self._left(run, "resumed by the user"), RunChanged(run, RunState.QUEUED)])
        if not fleet.resume_run(run) and (job := self._job(run)):
            fleet.enlist(job)

    def _restore(self, run: int, fleet: Fleet) -> None:
        standing = self.standings[run]
        if standing.former:
            trash.bring_back(self._home, self._runs[run])
            fleet.note([RunChanged(run, standing.former)])
        else:  # it is only about to be deleted
            self._intents[run] = Effect.STOP
            self.standings[run] = replace(standing, deleting=False)

    def _left(self, run: int, cause: str) -> list[Fact]:
        """That the run leaves the bracket that it is in, if it is in one."""
        bracket = self.standings[run].bracket
        return [] if bracket is None else [RunLeft(run, bracket, cause, worst=True)]


def standings_of(known: Iterable[KnownRun], runs: Iterable[Run] = ()) -> Standings:
    """Where the known runs are while nothing trains, and new ones."""
    found = {run.number: Standing() for run in runs}
    for one in known:
        state = RunState.INTERRUPTED if one.state is RunState.RUNNING else one.state
        found[one.run.number] = Standing(state, one.bracket, former=one.former)
    for run in [one.run for one in known]:
        if run.replaces in found:
            found[run.replaces] = replace(found[run.replaces], replaced_by=run.number)
    return found
