"""Act on requests while nothing is training: the verb holds the experiment's lock itself."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rapidfire_cli.app.control import side_file
from rapidfire_cli.app.control.cloning import Cloning
from rapidfire_cli.app.control.steering import Steering, standings_of
from rapidfire_cli.app.holding import held
from rapidfire_cli.engine.jobs import Job
from rapidfire_cli.facts import Fact, RunAdmitted
from rapidfire_cli.manifest import codec
from rapidfire_cli.requests import Answer, Request
from rapidfire_cli.store.journal import SqliteJournal
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.requests_taken import requests_taken
from rapidfire_cli.terms import Run


class AtRest:
    """The runs of an experiment that nobody trains: a request changes the record alone."""

    def __init__(self, home: ExperimentDir, steering: Steering, journal: SqliteJournal) -> None:
        self._home = home
        self._steering = steering
        self._journal = journal

    def note(self, facts: Sequence[Fact]) -> None:
        self._journal.take(facts)
        self._steering.learn(facts)

    def record(self, facts: Sequence[Fact] = ()) -> None:
        self.note(facts)
        self._journal.commit()

    def stop_run(self, run: int, at_once: bool) -> bool:
        return False

    def resume_run(self, run: int) -> bool:
        return False

    def enlist(self, job: Job) -> None:
        raise AssertionError("nothing is trained here")

    def keep_next(self, run: int) -> bool:
        return False

    def admit(self, run: Run) -> None:
        side_file.add_line(self._home.manifest, codec.write(run))
        self.note([RunAdmitted(run)])


def act(home: ExperimentDir, request: Request) -> tuple[Answer, ...]:
    """Carry the request out under the lock. Raises Held, Refusal and OSError."""
    with held(home), _at_rest(home) as (steering, runs):
        return steering.handle(request, runs)


def catch_up(home: ExperimentDir) -> None:
    """Carry out requests that a kill interrupted; the lock is held already. Raises Refusal and OSError."""
    if home.requests.is_file() and home.journal.is_file():
        with _at_rest(home):
            pass


@contextmanager
def _at_rest(home: ExperimentDir) -> Iterator[tuple[Steering, AtRest]]:
    """The experiment's runs, after every request that was noted before."""
    taken = [each.taken for each in requests_taken(home.journal)]
    known = known_runs(home.journal, 1)
    steering = Steering(home, [one.run for one in known], standings_of(known), taken, Cloning(home))
    journal = SqliteJournal(home.journal)
    runs = AtRest(home, steering, journal)
    journaled = {each.request.id for each in taken}
    try:
        steering.settle(runs)
        for request in side_file.noted(home):
            if request.id not in journaled:
                steering.handle(request, runs)
        yield steering, runs
    finally:
        journal.close()
