"""A search proposes runs as results come: whole fits with workers that only pretend to train."""

import json
import pickle
import sqlite3
from concurrent.futures import Future

import pytest

from rapidfire_cli.app import searching
from rapidfire_cli.app.ci import Shard
from rapidfire_cli.app.errors import Unavailable
from rapidfire_cli.app.experiments import load_experiment
from rapidfire_cli.app.files import Given
from rapidfire_cli.app.verbs.repair import repair
from rapidfire_cli.app.verbs.replay import Setting, replay
from rapidfire_cli.app.verbs.status import status
from rapidfire_cli.app.verbs.why import why
from rapidfire_cli.facts import BracketBegun, RunJoined
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.problems import Refusal
from rapidfire_cli.search.answering import answer
from rapidfire_cli.search.proposing import Question, asked_again, searches
from rapidfire_cli.stopping.bracket import bracket_state
from rapidfire_cli.stopping.registry import rule_of
from rapidfire_cli.store.curves import curves
from rapidfire_cli.store.history import bracket_events
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.store.queries import overview
from rapidfire_cli.syntax.ast import AdaptiveSearch, Range
from rapidfire_cli.syntax.parser import parse
from rapidfire_cli.terms import Proposal, Run, RunState
from rapidfire_cli.view.formats import Output
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
    assert all(one.state in (RunState.COMPLETED, RunState.FAILED, RunState.PRUNED) for one in known)
    return [one.run for one in known]


def again(cli: Cli) -> list[str | None]:
    """Every proposal, computed once more from what the journal knows by now."""
    file = load_experiment(Given(cli.path / "file.yaml"), str(cli.home.path.parent)).file
    [each] = searches(file)
    rows = overview(cli.home.journal, alive=False).rows
    values = {run: curve.values for run, curve in curves(rows, cli.past, "quality").items()}
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


def test_a_fit_that_ends_leaves_no_sampler_process():
    asked = Question(AdaptiveSearch({"a": Range(0.0, 1.0, "float")}, 9, "q", "max"), 1, 1, ())
    sampler = searching.SamplerProcess()
    assert sampler.ask(asked).result()
    waiting = sampler.ask(asked)
    sampler.close()
    assert sampler._process and sampler._process.poll() is not None and waiting.done()
    sampler = searching.SamplerProcess()
    sampler.ask(asked)
    sampler.close()
    assert sampler._process is None or sampler._process.poll() is not None


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


MEDIAN = "early_stopping: {rule: median, metric: quality, direction: max}"


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("workers", [1, 3])
def test_proposed_runs_are_stopped_early_with_the_others(tmp_path, workers):
    cli = place(tmp_path)
    cli.fit_through(text(14, 4, MEDIAN), FaultRates(seed=5, crashes=0.02, saves=0.5), workers)
    born = [run for run in trained(cli) if isinstance(run.origin, Proposal)]
    assert any(cli.states[run.number] is RunState.PRUNED for run in born)
    assert any(run.origin.pruned for run in born if isinstance(run.origin, Proposal))
    assert again(cli) == configs(born)
    [began] = [event for event in cli.past if isinstance(event, BracketBegun)]
    kept = [*cli.decisions]
    assert {verdict.run for each in kept for verdict in each.verdicts} == set(range(1, 15))
    found = bracket_state(rule_of(began.rule), 1, began.goals, bracket_events(began, cli.past))
    assert found.decisions == kept


@pytest.mark.usefixtures("at_once")
def test_a_search_whose_runs_are_all_trained_gets_a_new_bracket_with_a_new_rule(tmp_path):
    cli = place(tmp_path)
    assert cli.fit(text(4, 4, MEDIAN), FaultRates(), 1)
    patience = "early_stopping: {rule: patience, metric: quality, direction: max, epochs: 1}"
    assert cli.fit(text(6, 4, patience), FaultRates(), 1)
    brackets = {one.run.number: one.bracket for one in known_runs(cli.home.journal, 1)}
    assert brackets == {1: 1, 2: 1, 3: 1, 4: 1, 5: 2, 6: 2}
    assert {each.rule for each in cli.decisions if each.bracket == 2} == {"patience"}


@pytest.mark.usefixtures("at_once")
def test_replay_checks_proposals_and_why_says_what_they_knew(tmp_path, capsys):
    cli = place(tmp_path, fails=(0.5,))
    cli.fit_through(text(9, 4, MEDIAN), FaultRates(seed=1), 3)
    home, parent = str(cli.home.path), str(cli.home.path.parent)
    assert replay(home, parent, Setting(), 1, Output.TABLE) == 0
    assert (
        "search in group 1: 5 proposals by tpe, all follow from the recorded results"
        in capsys.readouterr().out
    )
    assert replay(home, parent, Setting(), 1, Output.JSON) == 0
    assert json.loads(capsys.readouterr().out)["searches"] == [
        {"group": 1, "sampler": "tpe", "proposals": 5, "differing": [], "changed": [], "agrees": True}
    ]
    born = next(run for run in trained(cli) if isinstance(run.origin, Proposal) and run.origin.unfinished)
    assert isinstance(born.origin, Proposal)
    assert why(f"{born.number}", home, parent, Output.TABLE) == 0
    said = capsys.readouterr().out
    assert f"it was proposed as number {born.origin.place} of its search, from the results of " in said
    assert "unfinished" in said
    with sqlite3.connect(cli.home.journal) as db:
        db.execute("UPDATE runs SET config = replace(config, '\"lr\":0.', '\"lr\":0.1') WHERE number > 4")
    assert replay(home, parent, Setting(), 1, Output.TABLE) == 1
    assert "do NOT follow" in capsys.readouterr().out


@pytest.mark.usefixtures("at_once")
def test_replay_accuses_no_proposal_that_followed_from_another_file(tmp_path, capsys):
    cli = place(tmp_path)
    assert cli.fit(text(6), FaultRates(), 1)
    assert cli.fit(text(8, more="exclude: train.batch_size == 16"), FaultRates(), 1)
    home, parent = str(cli.home.path), str(cli.home.path.parent)
    assert replay(home, parent, Setting(), 1, Output.JSON) == 0
    [found] = json.loads(capsys.readouterr().out)["searches"]
    assert {4, 5, 6} <= set(found["changed"]) and found["agrees"]
    assert replay(home, parent, Setting(), 1, Output.TABLE) == 0
    assert "cannot be checked, as the file or its runs have changed since" in capsys.readouterr().out


@pytest.mark.usefixtures("at_once")
def test_a_run_that_waits_for_weights_holds_up_no_search(tmp_path, capsys):
    source = "  - config: {train: {epochs: 2, batch_size: 8, optimizer: {name: SGD, args: {lr: 0.5}}}}\n"
    head, search = text(4).split("\n", 1)
    indented = "".join(f"    {line}\n" for line in search.splitlines()).replace(
        "    search:", "  - search:", 1
    )
    alone = f"{head}\nconfig_group:\n{source}"
    [failing] = expand(parse(alone.encode(), "file.yaml"))
    start = f"warm_start: {{run: {failing.id}, epoch: 1}}"
    cli = place(tmp_path, fails=(0.499,))
    warm = source.replace("{train", f"{{{start}, train").replace("lr: 0.5", "lr: 0.4")
    assert cli.fit(f"{alone}{warm}{indented}", FaultRates(), 1)
    assert [*cli.states.values()].count(RunState.QUEUED) == 1
    assert len(cli.states) == 6
    assert "run 2 waits for the weights of epoch 1" in capsys.readouterr().err


@pytest.mark.usefixtures("at_once")
def test_status_says_what_a_killed_search_has_left_to_propose(tmp_path, capsys):
    cli = place(tmp_path)
    assert not cli.fit(text(8, 4), FaultRates(moments=24), 1)
    born = [run for run in cli.states if run > 4]
    if set(cli.states.values()) == {RunState.COMPLETED}:
        assert len(born) < 4
    assert status(None, str(cli.home.path.parent), False, Output.TABLE) == 0
    left = f"search in group 1: {4 - len(born)} run"
    assert left in capsys.readouterr().out
    assert cli.fit(text(8, 4), FaultRates(), 1)
    assert status(None, str(cli.home.path.parent), False, Output.TABLE) == 0
    assert "not proposed yet" not in capsys.readouterr().out


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("rebuilt", [text(9, 4, MEDIAN)])
def test_a_rebuilt_journal_has_proposals_in_their_bracket(tmp_path, rebuilt):
    cli = place(tmp_path)
    assert cli.fit(rebuilt, FaultRates(), 1)
    joined = [event for event in cli.past if isinstance(event, RunJoined)]
    assert len(joined) == 5
    cli.home.journal.unlink()
    assert repair(str(cli.home.path), str(cli.home.path.parent)) == 0
    assert [event for event in cli.past if isinstance(event, RunJoined)] == joined
    assert {one.bracket for one in known_runs(cli.home.journal, 1)} == {1}


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
