"""Whatever people ask for, while runs train and fits are killed: their last wish comes true."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rapidfire_cli.control.decisions import Effect, decide
from rapidfire_cli.control.intents import intents
from rapidfire_cli.control.standing import Standing, learn
from rapidfire_cli.control.undoing import undone
from rapidfire_cli.facts import RequestTaken, RunChanged, RunPurged
from rapidfire_cli.requests import Delete, Keep, Purge, Request, Restore, Resume, Stop, Undo, subject
from rapidfire_cli.terms import RunState
from tests.shares import EXAMPLES

RUNS = (1, 2, 3)
OVER = (RunState.COMPLETED, RunState.PRUNED, RunState.FAILED)
ASKS = st.builds(
    lambda kind, runs: kind(tuple(runs)),
    st.sampled_from([Stop, Resume, Delete, Restore, Purge, Keep]),
    st.lists(st.sampled_from(RUNS), min_size=1, max_size=2),
)


class Histories(RuleBasedStateMachine):
    """A fit as the decisions see it; effects take place as `app.control.steering` carries them out."""

    def __init__(self) -> None:
        super().__init__()
        self.standings = dict.fromkeys(RUNS, Standing())
        self.taken: list[RequestTaken] = []

    def change(self, run: int, state: RunState) -> None:
        learn(self.standings, RunChanged(run, state))

    def training(self) -> list[int]:
        return [run for run, standing in self.standings.items() if standing.state is RunState.RUNNING]

    # The fit

    @rule(run=st.sampled_from(RUNS))
    def begin(self, run: int) -> None:
        if self.standings[run].state in (RunState.QUEUED, RunState.INTERRUPTED):
            self.change(run, RunState.RUNNING)

    @precondition(lambda self: self.training())
    @rule(which=st.integers(0, 9), state=st.sampled_from(OVER))
    def end(self, which: int, state: RunState) -> None:
        training = self.training()
        self.change(training[which % len(training)], state)
        self.settle()

    @precondition(lambda self: self.training())
    @rule()
    def reach_a_step(self) -> None:
        """Every run that is being stopped stops."""
        for run in self.training():
            if self.standings[run].stopping:
                self.change(run, RunState.STOPPED)
        self.settle()

    @rule()
    def kill(self) -> None:
        """What was trained is interrupted; whoever takes the lock next completes what was asked for."""
        for run in self.training():
            self.change(run, RunState.INTERRUPTED)
        self.settle()

    def settle(self) -> None:
        for run, effect in intents(self.taken).items():
            if self.standings[run].state in (RunState.QUEUED, RunState.INTERRUPTED):
                self.change(run, RunState.STOPPED)
            deletable = self.standings[run].state not in (RunState.RUNNING, RunState.DELETED)
            if effect is Effect.DELETE and deletable:
                self.change(run, RunState.DELETED)

    # People

    @rule(ask=ASKS, uid=st.integers(1, 2))
    def ask(self, ask, uid: int) -> None:
        self.take(Request("00000000-0000-4000-8000-000000000000", "cli", ask, uid=uid))

    @rule(uid=st.integers(1, 2))
    def undo(self, uid: int) -> None:
        means = undone(self.taken, uid)
        if not isinstance(means, str):
            self.take(Request("00000000-0000-4000-8000-000000000000", "cli", Undo(), uid=uid, means=means))

    def take(self, request: Request) -> None:
        rulings = decide(request, self.standings)
        self.taken.append(RequestTaken(request, tuple(ruling.answer for ruling in rulings)))
        for ruling in rulings:
            run, standing = ruling.answer.run, self.standings[ruling.answer.run]
            trains = standing.state is RunState.RUNNING
            match ruling.effect:
                case Effect.STOP | Effect.DELETE if trains:
                    deletes = ruling.effect is Effect.DELETE
                    self.standings[run] = Standing(RunState.RUNNING, stopping=True, deleting=deletes)
                case Effect.RESUME if trains:
                    self.standings[run] = Standing(RunState.RUNNING)
                case Effect.RESUME:
                    self.change(run, RunState.QUEUED)
                case Effect.RESTORE if standing.former:
                    self.change(run, standing.former)
                case Effect.RESTORE:
                    self.standings[run] = Standing(RunState.RUNNING, stopping=True)
                case Effect.PURGE:
                    learn(self.standings, RunPurged(run))
            assert ruling.answer.changed is (ruling.effect is not None)
            if ruling.effect is not None:
                self.check_outcome(subject(request), run)
        self.settle()

    def check_outcome(self, about, run: int) -> None:
        """What the person sees at once."""
        standing = self.standings[run]
        if isinstance(about, Resume):
            assert not standing.stopping and standing.state in (RunState.QUEUED, RunState.RUNNING)

    @invariant()
    def what_was_asked_for_last_is_so_or_is_about_to_be(self) -> None:
        for run, effect in intents(self.taken).items():
            standing = self.standings[run]
            if effect is Effect.DELETE:
                assert standing.state is RunState.DELETED or standing.deleting
            else:
                assert standing.stopping or standing.state in (RunState.STOPPED, *OVER)

    @invariant()
    def only_a_run_that_trains_is_stopping(self) -> None:
        for standing in self.standings.values():
            assert not standing.stopping or standing.state is RunState.RUNNING
            assert not standing.deleting or standing.stopping
            assert standing.former is None or standing.state is RunState.DELETED
            assert standing.former not in (RunState.DELETED, RunState.RUNNING)


Histories.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=25, deadline=None, derandomize=True, database=None
)
TestHistories = Histories.TestCase
