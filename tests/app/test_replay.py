"""`replay` says what another setting would have chosen and cost, and whether a ledger is to be believed."""

import json
import sqlite3
from contextlib import closing

import pytest

from rapidfire_cli.app.verbs import replay
from rapidfire_cli.app.verbs.replay import Setting
from rapidfire_cli.problems import Refusal
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.formats import Output
from tests.app.fake_workers import TRAIN, Cli, FaultRates, sha
from tests.app.test_brackets import by_rung, rising


@pytest.fixture
def told(tmp_path, capsys):
    class Told:
        cli = Cli(tmp_path, rising)

        def replay(self, exits: int = 0, output: Output = Output.TABLE, slots: int = 2, **setting) -> str:
            capsys.readouterr()
            said = replay.replay(None, str(tmp_path / "experiments"), Setting(**setting), slots, output)
            assert said == exits
            return capsys.readouterr().out

        def document(self, **setting) -> dict:
            [found] = json.loads(self.replay(output=Output.JSON, **setting))["replays"]
            return found

    return Told()


SEARCH = f"objective: {{metric: quality, direction: max}}\nrandomsearch: {{num_runs: 16, {TRAIN}}}\n"


def test_curves_trained_to_the_end_tell_what_halving_would_have_done(told, tmp_path):
    told.cli.fit(f"mlspec: none:None\n{SEARCH}", FaultRates())
    found = told.document(reduction_factor=2, min_epochs=1)
    assert found["certain"] and found["recorded_run_epochs"] == found["uncut_run_epochs"] == 16 * 8
    halved = Cli(tmp_path / "halved", rising)
    halved.fit(sha(16), FaultRates())
    rungs = [{verdict.run for verdict in each.verdicts} for each in by_rung(halved.decisions).values()]
    assert [set(rung["runs"]) for rung in found["rungs"]] == rungs  # the same seed draws the same runs
    assert halved.states[found["chosen"]] is RunState.COMPLETED
    assert found["run_epochs"] == 16 + 8 + 8 + 8


def test_what_a_cut_curve_cannot_tell_is_said(told):
    told.cli.fit(sha(16), FaultRates())
    found = told.document(min_epochs=2, reduction_factor=3)
    pruned_at_once = {run for run, kept in told.cli.checkpoints.items() if len(kept) == 1}
    assert not found["certain"] and set(found["rungs"][0]["unknown"]) == pruned_at_once
    said = told.replay(min_epochs=2, reduction_factor=3)
    assert "; 8 values unknown" in said and "unknown values on may differ" in said
    assert f"{found['run_epochs']} run-epochs (recorded: 40, without early stopping: 128)" in said


def test_the_same_setting_costs_and_chooses_the_same(told):
    told.cli.fit(sha(16), FaultRates())
    found = told.document(reduction_factor=2)
    assert found["certain"] and found["run_epochs"] == found["recorded_run_epochs"] == 40
    assert told.cli.states[found["chosen"]] is RunState.COMPLETED


def test_each_bracket_of_hyperband_is_replayed_for_itself(told):
    bands = f"hyperband: {{max_epochs: 8, reduction_factor: 2, metric: quality, direction: max, {TRAIN}}}"
    told.cli.fit(f"mlspec: none:None\n{bands}\n", FaultRates())
    found = json.loads(told.replay(output=Output.JSON, reduction_factor=4))["replays"]
    assert [len(each["runs"]) for each in found] == [8, 6, 4, 4]
    assert [each["min_epochs"] for each in found] == [1, 2, 4, 8]


@pytest.mark.parametrize("rule", ["median", "patience"])
def test_runs_that_another_rule_ended_are_tried_under_successive_halving_and_that_is_said(told, rule):
    stopping = f"early_stopping: {{rule: {rule}, metric: quality, direction: max}}"
    told.cli.fit(f"mlspec: none:None\nrandomsearch: {{num_runs: 16, {stopping}, {TRAIN}}}\n", FaultRates())
    assert told.document(reduction_factor=2)["instead_of"] == rule
    said = told.replay(reduction_factor=2)
    assert f"instead of `rule: {rule}`, which cannot be simulated with other settings" in said
    assert told.replay().startswith("bracket 1: 16 runs by quality; ")


def test_without_waiting_the_order_follows_from_the_slots(told):
    told.cli.fit(f"mlspec: none:None\n{SEARCH}", FaultRates())
    one, many = (told.document(mode="async", reduction_factor=2, slots=slots) for slots in (1, 16))
    assert one["run_epochs"] >= 40 and many["run_epochs"] >= 40
    assert many["seconds"] < one["seconds"]


def test_another_metric_has_its_usual_direction(told):
    told.cli.fit(f"mlspec: none:None\n{SEARCH}", FaultRates())
    assert told.document(metric="validation.quality", direction="max")["direction"] == "max"
    for metric, code in (("validation.quality", "E610"), ("taste", "E605")):
        with pytest.raises(Refusal) as refused:
            told.replay(metric=metric)
        assert [problem.code for problem in refused.value.problems] == [code]


def test_a_first_rung_beyond_the_end_is_refused(told):
    told.cli.fit(sha(4), FaultRates())
    with pytest.raises(Refusal) as refused:
        told.replay(min_epochs=9)
    assert [problem.code for problem in refused.value.problems] == ["E310"]


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("seed", range(3))
def test_without_a_setting_the_ledger_is_heard_again_and_holds(told, mode, seed):
    told.cli.fit_through(
        sha(16, mode=mode), FaultRates(seed, deaths=0.02, saves=0.3, crashes=0.04), workers=3
    )
    decisions = len(told.cli.decisions)
    assert told.replay() == (
        f"bracket 1: 16 runs by quality; {decisions} decisions, all follow from the recorded results\n"
    )


def test_a_ledger_that_somebody_changed_is_found_out(told):
    told.cli.fit(sha(16), FaultRates())
    with closing(sqlite3.connect(told.cli.home.journal)) as db, db:
        db.execute(
            "UPDATE events SET body = replace(body, '\"promoted\":false', '\"promoted\":true') "
            "WHERE seq = (SELECT min(seq) FROM events WHERE kind = 'decision')"
        )
    assert "they do NOT follow" in told.replay(exits=1)


def test_runs_that_no_rule_compared_have_no_ledger(told, capsys):
    told.cli.fit(f"mlspec: none:None\n{SEARCH}", FaultRates())
    capsys.readouterr()
    assert replay.replay(None, str(told.cli.path / "experiments"), Setting(), 1, Output.TABLE) == 0
    assert "these runs had no early stopping" in capsys.readouterr().err
