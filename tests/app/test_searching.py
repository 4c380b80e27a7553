"""A search proposes runs as results come: whole fits with workers that only pretend to train."""

import json
import pickle
from concurrent.futures import Future

import pytest

from rapidfire_cli.app import searching
from rapidfire_cli.app.ci import Shard
from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.experiments import load_experiment
from rapidfire_cli.app.files import Given
from rapidfire_cli.problems import Refusal
from rapidfire_cli.search.proposing import Question, asked_again, searches
from rapidfire_cli.search.sampler_process import answer
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.store.queries import overview
from rapidfire_cli.terms import Proposal, Run, RunState
from tests.app.fake_workers import Cli, FaultRates
from tests.shares import share

RUNS = 8


def text(runs: int = RUNS, startup: int = 3, more: str = "") -> str:
    return f"""mlspec: none:None
search:
  num_runs: {runs}
  startup: {startup}
  metric: quality
  direction: max
  {more}
  train:
    epochs: 2
    batch_size: !list [8, 16, 32]
    optimizer: {{name: SGD, args: {{lr: !range {{start: 0.001, end: 1.0, log: true}}}}}}
"""


class InProcess:
    """Answers in this process, which spares every fit a second of imports."""

    def ask(self, asked: Question) -> "Future[str | None]":
        future: Future[str | None] = Future()
        future.set_result(json.loads(json.dumps(answer(pickle.loads(pickle.dumps(asked))))))
        return future

    def close(self) -> None:
        """Nothing to end."""


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(searching, "SamplerProcess", InProcess)


def place(path, fails=()) -> Cli:
    """A place whose runs are best at a learning rate of 0.1."""
    return Cli(path, lambda lr, epoch: None if any(map(lr.__lt__, fails)) else -abs(lr - 0.1), idle=3000)


def trained(cli: Cli) -> list[Run]:
    known = known_runs(cli.home.journal, 1)
    assert all(one.state in (RunState.COMPLETED, RunState.FAILED) for one in known)
    return [one.run for one in known]


def again(cli: Cli) -> list[str | None]:
    """Every proposal, computed once more from what the journal knows by now."""
    file = load_experiment(Given(cli.path / "file.yaml"), str(cli.home.path.parent)).file
    [each] = searches(file)
    rows = overview(cli.home.journal, alive=False).rows
    values = {row.number: row.metrics.get("validation", {}).get("quality") for row in rows}
    runs = trained(cli)
    born = [run for run in runs if isinstance(run.origin, Proposal)]
    return [answer(asked_again(file, each, run, runs, values)) for run in born]


def configs(runs: list[Run]) -> list[str]:
    return [run.config for run in runs]


def test_a_fit_trains_the_startup_runs_and_then_what_is_proposed(tmp_path):
    cli = place(tmp_path)
    assert cli.fit(text(5), FaultRates(), 1)
    runs = trained(cli)
    assert [run.number for run in runs] == [1, 2, 3, 4, 5]
    origins = [run.origin for run in runs]
    assert origins[:3] == [None] * 3
    assert [(one.place, one.unfinished, one.failed) for one in origins[3:] if isinstance(one, Proposal)] == [
        (4, (), ()),
        (5, (), ()),
    ]
    assert len({*configs(runs)}) == 5


@pytest.mark.usefixtures("at_once")
def test_wherever_a_fit_is_killed_the_proposals_are_the_same_and_none_is_made_twice(tmp_path):
    cli = place(tmp_path / "whole")
    assert cli.fit(text(), FaultRates(), 1)
    whole = trained(cli)
    for moment in share(range(1, 60), 7):
        cli = place(tmp_path / f"{moment}")
        ended = cli.fit(text(), FaultRates(moments=moment), 1)
        if not ended:
            assert cli.fit(text(), FaultRates(), 1)
        assert trained(cli) == whole, moment
        if ended:
            break
    assert ended and moment > RUNS


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("workers", [1, 4])
def test_the_journal_reproduces_every_proposal(tmp_path, workers):
    cli = place(tmp_path, fails=(0.9,))
    cli.fit_through(text(14, 4), FaultRates(seed=3, crashes=0.02, deaths=0.02, saves=0.5), workers)
    runs = trained(cli)
    proposals = [run for run in runs if isinstance(run.origin, Proposal)]
    assert [run.origin.place for run in proposals if isinstance(run.origin, Proposal)] == [*range(5, 15)]
    assert len({*configs(runs)}) == 14
    assert again(cli) == configs(proposals)
    met = any(isinstance(run.origin, Proposal) and run.origin.unfinished for run in proposals)
    assert met == (workers > 1)


@pytest.mark.usefixtures("at_once")
def test_a_larger_budget_continues_the_search(tmp_path):
    cli = place(tmp_path / "larger")
    assert cli.fit(text(5), FaultRates(), 1)
    assert cli.fit(text(7), FaultRates(), 1)
    whole = place(tmp_path / "whole")
    assert whole.fit(text(7), FaultRates(), 1)
    assert trained(cli) == trained(whole)
    assert cli.fit(text(7), FaultRates(), 1)
    assert len(trained(cli)) == 7


@pytest.mark.usefixtures("at_once")
def test_a_search_that_has_tried_every_config_ends_early(tmp_path, capsys):
    cli = place(tmp_path)
    few = text(4, 2, "exclude: train.batch_size > 8").replace(
        "!range {start: 0.001, end: 1.0, log: true}", "!list [0.1, 0.2, 0.3]"
    )
    assert cli.fit(few, FaultRates(), 1)
    assert len(trained(cli)) == 3
    assert "search in group 1 ended early: no further config was found" in capsys.readouterr().err


def test_a_search_cannot_be_sharded(tmp_path):
    with pytest.raises(Refusal) as refused:
        place(tmp_path).fit(text(), FaultRates(), 1, Shard(1, 2))
    assert [problem.code for problem in refused.value.problems] == ["E518"]


def test_without_optuna_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(searching, "find_spec", lambda name: None)
    with pytest.raises(
        Unavailable, match=r"`sampler: tpe` needs the package optuna: pip install 'rapidfire-cli\[optuna\]'"
    ):
        place(tmp_path).fit(text(), FaultRates(), 1)
    assert place(tmp_path).fit(text(3, 3), FaultRates(), 1), "nothing is to be proposed"
