"""Requests during a fit, with workers that only pretend to train: the moment of each is exact."""

from collections.abc import Sequence
from itertools import count

import pytest

from rapidfire_cli.app.control import serving
from rapidfire_cli.facts import EpochEnded, Fact, RunLeft
from rapidfire_cli.requests import Ask, Delete, Request, Resume, Stop, Undo
from rapidfire_cli.store.requests_taken import requests_taken
from rapidfire_cli.terms import RunState
from tests.app.fake_workers import TRAIN, Cli, FaultRates, sha
from tests.app.test_brackets import relived, rising

FREE = f"mlspec: none:None\nrandomsearch: {{num_runs: 4, {TRAIN}}}\n"


class FakeListener:
    """Delivers requests when a run has finished an epoch; keeps what is answered."""

    def __init__(self, script: Sequence[tuple[int, int, Ask]]) -> None:
        self.script = [*script]
        self.answers: list[str] = []
        self.ids = count(1)

    def due(self, facts: Sequence[Fact]) -> list[Ask]:
        ended = {(fact.run, fact.epoch) for fact in facts if isinstance(fact, EpochEnded)}
        found = [ask for run, epoch, ask in self.script if (run, epoch) in ended]
        self.script = [each for each in self.script if each[2] not in found]
        return found


def fitted(cli: Cli, text: str, script: Sequence[tuple[int, int, Ask]], **asked: object) -> FakeListener:
    """Fit once, with requests at (run, epoch)."""
    listener = FakeListener(script)
    waiting: list[Ask] = []

    class Scripted(serving.Serving):
        def learn(self, facts: Sequence[Fact]) -> None:
            super().learn(facts)
            waiting.extend(listener.due(facts))

        def serve(self, fleet) -> None:
            self.settle(fleet)
            while waiting:
                ask = waiting.pop(0)
                request = Request(
                    f"00000000-0000-4000-8000-{next(listener.ids):012}", "cli", ask, uid=1, pid=1
                )
                answers = self._steering.handle(request, fleet)
                listener.answers += [f"{answer.run} {answer.text}" for answer in answers]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "Serving", Scripted)
        cli.fit(text, FaultRates(seed=1), **asked)
    assert not listener.script, "every request had its moment"
    return listener


def test_a_run_is_stopped_deleted_restored_and_resumed_while_the_others_train(tmp_path):
    cli, calm = Cli(tmp_path / "steered", rising), Cli(tmp_path / "calm", rising)
    calm.fit(FREE, FaultRates(seed=1))
    listener = fitted(
        cli,
        FREE,
        [
            (1, 1, Stop((1,))),
            (2, 2, Delete((2, 1))),
            (3, 3, Undo()),
            (3, 5, Resume((1,))),
            (4, 2, Stop((9,))),
        ],
    )
    assert "9 does not exist" in listener.answers
    assert [str(state) for state in cli.states.values()] == ["completed", "stopped", "completed", "completed"]
    for run in (1, 3, 4):
        assert cli.checkpoints[run] == calm.checkpoints[run]
    assert [type(each.taken.request.ask).__name__ for each in requests_taken(cli.home.journal)] == [
        *("Stop", "Delete", "Stop", "Undo", "Resume")
    ]


def test_a_fit_of_which_every_run_is_stopped_ends(tmp_path):
    cli = Cli(tmp_path, rising)
    fitted(cli, FREE, [(1, 1, Stop((1, 2, 3, 4)))])
    assert set(cli.states.values()) == {RunState.STOPPED}


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_pruned_run_that_is_resumed_trains_outside_its_bracket_which_decides_as_before(tmp_path, mode):
    cli, calm = Cli(tmp_path / "steered", rising), Cli(tmp_path / "calm", rising)
    text = sha(8, mode=mode)
    calm.fit(text, FaultRates(seed=1), workers=1)
    pruned = min(run for run, state in calm.states.items() if state is RunState.PRUNED)
    best = max(run for run, state in calm.states.items() if state is RunState.COMPLETED)
    fitted(cli, text, [(best, 5, Resume((pruned,)))], workers=1)
    assert cli.states[pruned] is RunState.COMPLETED
    assert cli.decisions == calm.decisions == relived(cli)
    [left] = [event for event in cli.past if isinstance(event, RunLeft)]
    assert (left.run, left.cause) == (pruned, "resumed by the user")
    cli.fit(text, FaultRates(), workers=1)
    assert cli.decisions == calm.decisions


def test_a_stop_that_is_taken_back_before_it_came_about_leaves_the_run_in_its_bracket(tmp_path):
    cli, calm = Cli(tmp_path / "steered", rising), Cli(tmp_path / "calm", rising)
    calm.fit(sha(8), FaultRates(seed=1), workers=1)
    listener = fitted(cli, sha(8), [(1, 1, Stop((1,))), (1, 1, Resume((1,)))], workers=1)
    assert listener.answers == ["1 stopping", "1 no longer stopping"]
    assert (cli.states, cli.decisions) == (calm.states, calm.decisions)
    assert not [event for event in cli.past if isinstance(event, RunLeft)]
