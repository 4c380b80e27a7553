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

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from rapidfire_cli.app.control import side_file
from rapidfire_cli.control.decisions import Effect, Ruling, decide
from rapidfire_cli.control.standing import Standing, Standings, learn
from rapidfire_cli.engine.jobs import Job
from rapidfire_cli.engine.ports import Fleet
from rapidfire_cli.facts import Fact, RequestTaken, RunChanged, RunLeft
from rapidfire_cli.requests import Answer, Request, Stop
from rapidfire_cli.store.known_runs import KnownRun
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.terms import OomRetry, Run, RunState


class Steering:
    """Carries out requests about the runs of one experiment, one after the other."""

    def __init__(
        self,
        home: ExperimentDir,
        standings: Standings,
        taken: Iterable[RequestTaken],
        job: Callable[[int], Job | None] = lambda run: None,
    ) -> None:
        """`job` says how a run is trained that this fit has not trained so far; None if it never does."""
        self.standings = standings
        self._home = home
        self._answered = {each.request.id: each.answers for each in taken}
        self._job = job

    def handle(self, request: Request, fleet: Fleet) -> tuple[Answer, ...]:
        """Decide about the request and carry it out; the answers. Raises OSError when the disk refuses."""
        if request.id in self._answered:
            return self._answered[request.id]
        rulings = decide(request, self.standings)
        if any(ruling.effect for ruling in rulings):
            side_file.note(self._home, request)
        answers = tuple(ruling.answer for ruling in rulings)
        fleet.note([RequestTaken(request, answers)])
        for ruling in rulings:
            self._carry_out(request, ruling, fleet)
        fleet.record()
        self._answered[request.id] = answers
        return answers

    def learn(self, facts: Sequence[Fact]) -> None:
        """Take in what happened."""
        for fact in facts:
            learn(self.standings, fact)

    def _carry_out(self, request: Request, ruling: Ruling, fleet: Fleet) -> None:
        run = ruling.answer.run
        match ruling.effect:
            case Effect.STOP:
                self._stop(run, isinstance(request.ask, Stop) and request.ask.at_once, fleet)
            case Effect.RESUME:
                self._resume(run, fleet)
            case None:
                pass

    def _stop(self, run: int, at_once: bool, fleet: Fleet) -> None:
        standing = self.standings[run]
        self.standings[run] = replace(standing, stopping=True)
        if not fleet.stop_run(run, at_once):
            fleet.note([*self._left(run, "stopped by the user"), RunChanged(run, RunState.STOPPED)])

    def _resume(self, run: int, fleet: Fleet) -> None:
        standing = self.standings[run]
        if standing.stopping:
            self.standings[run] = replace(standing, stopping=False)
            fleet.resume_run(run)
            return
        fleet.note([*self._left(run, "resumed by the user"), RunChanged(run, RunState.QUEUED)])
        if not fleet.resume_run(run) and (job := self._job(run)):
            fleet.enlist(job)

    def _left(self, run: int, cause: str) -> list[Fact]:
        """That the run leaves the bracket that it is in, if it is in one."""
        bracket = self.standings[run].bracket
        return [] if bracket is None else [RunLeft(run, bracket, cause, worst=True)]


def standings_of(known: Iterable[KnownRun], runs: Iterable[Run] = ()) -> Standings:
    """Where the known runs are while nothing trains, and new ones."""
    found = {run.number: Standing() for run in runs}
    for one in known:
        state = RunState.INTERRUPTED if one.state is RunState.RUNNING else one.state
        found[one.run.number] = Standing(state, one.bracket)
    for run in [one.run for one in known]:
        match run.origin:
            case OomRetry(replaced) if replaced in found:
                found[replaced] = replace(found[replaced], replaced_by=run.number)
    return found
