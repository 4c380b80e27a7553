"""Whatever people ask for, however often a fit is killed and `epochs` edited: the last wish comes true.

These are whole fits; only the training is pretended. The model knows which runs the file lists, and what was
asked last of each.
"""

import math
import os
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from io import StringIO
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rapidfire_cli.app.control import serving
from rapidfire_cli.app.control.asking import send
from rapidfire_cli.control.undoing import undone
from rapidfire_cli.engine.ports import Fleet
from rapidfire_cli.facts import EpochEnded, Fact, RequestTaken
from rapidfire_cli.requests import (
    AboutRuns,
    Answer,
    Ask,
    CloneRun,
    Delete,
    Purge,
    Request,
    Restore,
    Resume,
    Stop,
    Undo,
)
from rapidfire_cli.store.known_runs import KnownRun, known_runs
from rapidfire_cli.store.requests_taken import requests_taken
from rapidfire_cli.terms import Clone, RunState
from tests.app.fake_workers import Cli, Crash, FaultRates
from tests.shares import WHOLE

FILE = """mlspec: none:None
gridsearch:
  train: {epochs: EPOCHS, batch_size: 1, optimizer: {name: SGD, args: {lr: !list [0.1, 0.2, 0.3]}}}
"""
UID = os.getuid()
LENGTHS = (2, 3, 5)  # epochs that the file may ask for
KINDS = (Stop, Resume, Delete, Restore, Purge)
RUNS = st.lists(st.integers(1, 7), min_size=1, max_size=2, unique=True).map(tuple)
ASKS = st.builds(Undo) | st.builds(lambda kind, runs: kind(runs), st.sampled_from(KINDS), RUNS)


@dataclass
class Wish:
    """What was last asked of a run that changed something; nothing of a new one."""

    ask: type[AboutRuns] | None = None
    is_sure: bool = True  # False where the fit was killed before it answered


class Histories(RuleBasedStateMachine):
    """An experiment, and people who change their minds."""

    def __init__(self) -> None:
        super().__init__()
        self.place = TemporaryDirectory()
        self.cli = Cli(Path(self.place.name), lambda lr, epoch: lr * epoch)
        self.epochs = LENGTHS[0]
        self.wishes: dict[int, Wish] = {}
        self.seen: dict[int, tuple[str, int]] = {}  # by number: id and seed
        self.ids = count(1)
        self.lrs = count(1)

    def teardown(self) -> None:
        self.place.cleanup()

    # What the journal says

    def known(self) -> dict[int, KnownRun]:
        return {one.run.number: one for one in known_runs(self.cli.home.journal, 1)}

    def listed(self) -> set[int]:
        """The runs of the file as it is now, and their clones."""
        runs = self.known()
        found = {
            number
            for number, one in runs.items()
            if one.run.origin is None and one.run.leaf["train"]["epochs"] == self.epochs
        }
        for number, one in sorted(runs.items()):
            if isinstance(one.run.origin, Clone) and one.run.origin.run in found:
                found.add(number)
        return found

    # The fit

    @initialize()
    def train_first(self) -> None:
        self.fit(FaultRates(), {})

    @rule(
        epochs=st.sampled_from(LENGTHS),
        seed=st.integers(0, 99),
        moment=st.sampled_from([math.inf, *range(1, 30)]),
        asks=st.lists(st.tuples(st.integers(1, 12), ASKS), max_size=3).map(dict),
    )
    def train(self, epochs: int, seed: int, moment: float, asks: dict[int, Ask]) -> None:
        """Fit with edited `epochs`, and requests after some of them; it may be killed at any moment."""
        self.epochs, before = epochs, self.known()
        wished = {run: wish.ask for run, wish in self.wishes.items()}
        if self.fit(FaultRates(seed=seed, saves=0.5, moments=moment), asks):
            self.check_all_is_as_wished()
        named = {run for run, wish in self.wishes.items() if wish.ask != wished.get(run) or not wish.is_sure}
        for number in before.keys() - self.listed() - named:
            assert self.known()[number].state is before[number].state, "a run that is not listed was touched"

    def fit(self, faults: FaultRates, asks: dict[int, Ask]) -> bool:
        """Fit once, with requests during it; False if it was killed."""
        machine, due, ended = self, dict(asks), []

        class Scripted(serving.Serving):
            def learn(self, facts: Sequence[Fact]) -> None:
                super().learn(facts)
                ended.extend(fact for fact in facts if isinstance(fact, EpochEnded))

            def serve(self, fleet: Fleet) -> None:
                self.settle(fleet)
                for at in sorted(at for at in due if at <= len(ended)):
                    assert self._steering
                    machine.ask(due.pop(at), partial(self._steering.handle, fleet=fleet))

        with pytest.MonkeyPatch.context() as patch, redirect_stderr(StringIO()):
            patch.setattr(serving, "Serving", Scripted)
            return self.cli.fit(FILE.replace("EPOCHS", f"{self.epochs}"), faults, 2)

    # People

    @rule(ask=ASKS)
    def ask_at_rest(self, ask: Ask) -> None:
        self.ask(ask, lambda request: send(self.cli.home, request).answers)

    @rule(run=st.integers(1, 7))
    def clone_at_rest(self, run: int) -> None:
        change = f"train.optimizer.args.lr={1 + next(self.lrs) / 100}"
        self.ask(CloneRun((run,), (change,)), lambda request: send(self.cli.home, request).answers)

    def ask(self, ask: Ask, handle: Callable[[Request], tuple[Answer, ...]]) -> None:
        """Have the request answered, and remember what was wished."""
        request = Request(f"00000000-0000-4000-8000-{next(self.ids):012}", "cli", ask, uid=UID, pid=1)
        about = undone(self.taken(), UID) if isinstance(ask, Undo) else ask
        try:
            answers = handle(request)
        except Crash:
            for run in () if isinstance(about, str) else about.runs:
                self.wishes.setdefault(run, Wish()).is_sure = False
            raise
        for answer in answers:
            if answer.changed:
                self.wishes[answer.born or answer.run] = Wish(None if answer.born else type(about))

    def taken(self) -> list[RequestTaken]:
        return [each.taken for each in requests_taken(self.cli.home.journal)]

    # What holds

    def check_all_is_as_wished(self) -> None:
        """After a fit that came to its end."""
        for number in self.listed():
            one, wish = self.known()[number], self.wishes.get(number, Wish())
            if not wish.is_sure:
                continue
            if wish.ask is Stop:
                assert one.state in (RunState.STOPPED, RunState.COMPLETED), number
            elif wish.ask in (Delete, Purge):
                assert one.state is RunState.DELETED, number
            elif wish.ask is Restore:
                assert one.state in (RunState.STOPPED, RunState.COMPLETED), number
            else:
                assert one.state is RunState.COMPLETED, number
            if one.state is RunState.COMPLETED:
                assert one.epoch == one.run.leaf["train"]["epochs"]

    @invariant()
    def a_number_belongs_to_one_run_for_ever(self) -> None:
        found = {number: (one.run.id, one.run.seed) for number, one in self.known().items()}
        assert self.seen.items() <= found.items()
        base = [one.run.id for one in self.known().values()]
        assert len(base) == len({*base}), "a run was listed a second time under another number"
        self.seen = found


Histories.TestCase.settings = settings(
    max_examples=500 if WHOLE else 15,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[*HealthCheck],
)
TestHistories = Histories.TestCase
