"""`why` reads the ledger back in a sentence or two: what was decided about a run, and what was known then."""

import json
import math
import re
from contextlib import closing

import pytest

from rapidfire_cli.app.verbs import why
from rapidfire_cli.facts import BracketBegun, Decision, RunChanged
from rapidfire_cli.problems import Refusal
from rapidfire_cli.stopping.asha import AsyncHalving
from rapidfire_cli.stopping.halving import HalvingRule
from rapidfire_cli.stopping.median import Median
from rapidfire_cli.stopping.registry import settings
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.formats import Output
from tests.app.fake_workers import TRAIN, Cli, Curve, FaultRates, sha
from tests.store.sweep import enrolled, epoch

CALM = FaultRates()


def steady(lr: float, epoch: int) -> float:
    """A run is as good as its learning rate, and slowly gets better."""
    return lr + epoch / 100


@pytest.fixture
def told(tmp_path, capsys):
    """Trains a file with these learning curves, and asks about its runs."""

    class Told:
        cli = Cli(tmp_path, steady)

        def fit(self, text: str, curve: Curve = steady, faults: FaultRates = CALM) -> list[Decision]:
            self.cli.curve = curve
            self.cli.fit(text, faults)
            return self.cli.decisions

        def why(self, run: int, output: Output = Output.TABLE) -> str:
            capsys.readouterr()
            why.why(str(run), None, str(tmp_path / "experiments"), output)
            return capsys.readouterr().out

        def first(self, state: RunState) -> int:
            return next(run for run, found in self.cli.states.items() if found is state)

    return Told()


def test_a_pruned_run_says_where_with_what_and_what_would_have_been_enough(told):
    decisions = told.fit(sha(8))
    verdict = decisions[1].verdicts[2]  # rank 3 of 4
    said = told.why(verdict.run).splitlines()
    number, cut = f"{verdict.value:.4g}", f"{decisions[1].cut:.4g}"
    assert said[0] == (
        f"run {verdict.run} was pruned at rung 2 (2 epochs): "
        f"quality {number}, rank 3 of 4, cut after rank 2 ({cut})"
    )
    assert re.fullmatch(r"it was promoted at rung 1 \(1 epoch\) with 0\.\d+, rank 3 of 8", said[1])


def test_a_completed_run_says_what_it_passed(told):
    told.fit(sha(8))
    said = told.why(told.first(RunState.COMPLETED)).splitlines()
    assert said[0].endswith("completed 8 of 8 epochs")
    assert said[1].count("rank 1 of") == 3


def test_a_run_that_nothing_could_end_says_so(told):
    told.fit(f"mlspec: none:None\nrandomsearch: {{num_runs: 2, {TRAIN}}}\n")
    assert told.why(1) == "run 1 completed 8 of 8 epochs (no early stopping)\n"


def test_what_is_not_a_number_never_goes_on_however_it_ranks(told):
    told.fit(sha(4), lambda lr, epoch: math.nan)
    assert "quality NaN, rank 1 of 4, NaN is never promoted" in told.why(1)


def test_a_metric_that_was_not_measured_is_told(told):
    told.fit(sha(4, metric="taste"))
    assert "no taste, rank 1 of 4" in told.why(1)


def test_equal_values_go_by_number_and_the_sentence_says_so(told):
    told.fit(sha(4), lambda lr, epoch: 0.5)
    assert "cut after rank 2 (0.5); ties go to the lower run number" in told.why(4)


def test_an_asynchronous_decision_says_what_was_known_when_it_was_taken(told):
    decisions = told.fit(sha(8, mode="async"))
    first = next(each for each in decisions if each.verdicts[0].promoted and each.known < 8)
    verdict = first.verdicts[0]
    assert f"rank {verdict.rank} of {first.known} known then" in told.why(verdict.run)
    last = next(each for each in decisions if not each.verdicts[-1].promoted)
    said = told.why(last.verdicts[-1].run)
    assert f"rank {last.verdicts[-1].rank} of {last.known}" in said and "of the results known then" in said


def test_the_median_rule_names_the_best_value_and_the_median(told):
    rule = "early_stopping: {rule: median, metric: quality, direction: max, min_epochs: 2}"
    decisions = told.fit(f"mlspec: none:None\nrandomsearch: {{num_runs: 12, {rule}, {TRAIN}}}\n")
    ended = next(each for each in decisions if not each.verdicts[0].promoted)
    verdict = ended.verdicts[0]
    assert told.why(verdict.run).splitlines()[0] == (
        f"run {verdict.run} was pruned at epoch {ended.epochs}: best quality {verdict.value:.4g} so far, "
        f"worse than {ended.cut:.4g}, the median of the averages of {ended.known - 1} other runs"
    )


def test_the_median_rule_ends_a_run_without_a_number(told):
    rule = "early_stopping: {rule: median, metric: quality, direction: max}"
    text = f"mlspec: none:None\nrandomsearch: {{num_runs: 2, {rule}, {TRAIN}}}\n"
    told.fit(text, lambda lr, epoch: math.nan)
    assert "was pruned at epoch 1: its quality became NaN" in told.why(1)


def flat_from(lr: float, epoch: int) -> float:
    """The best is at epoch 4."""
    return lr + min(epoch, 8 - epoch) / 100


@pytest.mark.parametrize(("delta", "least"), [("", ""), (", min_delta: 0.001", " of more than 0.001")])
def test_patience_names_the_best_value_and_its_epoch(told, delta, least):
    rule = f"early_stopping: {{rule: patience, metric: quality, direction: max, epochs: 2{delta}}}"
    [*_, decision] = told.fit(
        f"mlspec: none:None\nrandomsearch: {{num_runs: 1, {rule}, {TRAIN}}}\n", flat_from
    )
    best = f"{decision.verdicts[0].value:.4g}"
    assert told.why(1).splitlines()[0] == (
        f"run 1 was pruned at epoch 6: no improvement{least} on quality since epoch 4 (best {best})"
    )
    assert re.fullmatch(
        rf"it was promoted at epoch 2 with best quality 0\.\d+ at epoch 2; epoch 4 .* {best} at epoch 4",
        told.why(1).splitlines()[1],
    )


def test_patience_says_that_there_was_no_number(told):
    rule = "early_stopping: {rule: patience, metric: quality, direction: max, epochs: 2}"
    told.fit(
        f"mlspec: none:None\nrandomsearch: {{num_runs: 1, {rule}, {TRAIN}}}\n", lambda lr, epoch: math.nan
    )
    assert "was pruned at epoch 2: its quality was not a number in the first 2 epochs" in told.why(1)


def test_a_run_of_one_of_several_brackets_names_its_own(told):
    bands = f"hyperband: {{max_epochs: 8, reduction_factor: 2, metric: quality, direction: max, {TRAIN}}}"
    decisions = told.fit(f"mlspec: none:None\n{bands}\n")
    second = next(each for each in decisions if each.bracket == 2)
    said = told.why(second.verdicts[-1].run)
    assert f"was pruned at rung 1 of bracket 2 ({second.epochs} epochs)" in said


def failing(lr: float, epoch: int) -> float | None:
    return None if epoch == 2 and lr > 0.5 else steady(lr, epoch)


def test_a_failed_run_says_its_cause_and_whether_it_has_another_chance(told):
    decisions = told.fit(sha(8), failing)
    run = decisions[1].failed[0]
    said = told.why(run)
    assert f"run {run} failed in epoch 2 of 8: ValueError: no\n" in said
    assert "rung 2 (2 epochs) ranked it last because it failed" in said
    assert "; that decision is final, so the run is not retried" in said
    told.fit(f"mlspec: none:None\nrandomsearch: {{num_runs: 9, {TRAIN}}}\n", failing)
    free = max(run for run, state in told.cli.states.items() if state is RunState.FAILED)
    assert told.why(free).splitlines()[-1] == "rerun `fit` to retry it"


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_run_that_waits_at_a_rung_says_for_how_many(told, mode):
    rule = HalvingRule("top1_accuracy", "max", 1, 5, 2, mode)
    told.cli.home.path.mkdir(parents=True)
    with closing(enrolled(told.cli.home.journal)) as journal:
        journal.record([BracketBegun(1, settings(rule), (1, 2, 3), (5, 5, 5))])
        journal.record([RunChanged(1, RunState.RUNNING), epoch(1, 1, 0.9)])
    waits = "rung 1 (1 epoch) has not decided yet (1 of 3 results known)"
    assert told.why(1) == f"run 1 is interrupted after 1 of 5 epochs: {waits}\n"
    assert told.why(2) == "run 2 is queued: it has not been trained yet\n"


def test_a_run_that_left_its_bracket_says_why(told):
    told.fit(sha(8), faults=FaultRates(decisions=1))
    alive = [run for run, state in told.cli.states.items() if state is not RunState.PRUNED]
    told.fit(sha(8, min_epochs=2))
    assert told.why(alive[0]).splitlines()[-1] == "it left bracket 1: its early-stopping rule changed"


def test_programs_get_every_decision_with_what_it_ranked(told):
    decisions = told.fit(sha(8))
    last = decisions[1].verdicts[-1]
    document = json.loads(told.why(last.run, Output.JSON))
    assert (document["run"], document["state"]) == (last.run, "pruned")
    assert [each["promoted"] for each in document["decisions"]] == [True, False]
    cut = document["decisions"][1]
    assert (cut["rung"], cut["epochs"], cut["rank"], cut["known"], cut["keep"]) == (2, 2, 4, 4, 2)
    assert (cut["value"], cut["cut"]) == (last.value, decisions[1].cut)
    assert [each["value"] for each in cut["verdicts"]] == sorted(
        (each["value"] for each in cut["verdicts"]), reverse=True
    )
    assert cut["ranked"] == [{"run": each["run"], "value": each["value"]} for each in cut["verdicts"]]
    records = [json.loads(line) for line in told.why(last.run, Output.JSONL).splitlines()]
    assert records == document["decisions"]


@pytest.mark.parametrize("mode", ["async", "median"])
@pytest.mark.parametrize("seed", range(3))
def test_what_a_decision_knew_that_waited_for_nobody_follows_from_the_journal(told, monkeypatch, mode, seed):
    """The policies of the fits themselves say what they knew, whenever they decide."""
    knew: dict[tuple[int, int], list[dict[str, object]]] = {}
    for policy in (AsyncHalving, Median):
        for what in ("report", "withdraw"):
            monkeypatch.setattr(policy, what, witnessed(getattr(policy, what), knew))
    median = f"early_stopping: {{rule: median, metric: quality, direction: max}}, {TRAIN}"
    text = f"mlspec: none:None\nrandomsearch: {{num_runs: 12, {median}}}\n"
    faults = FaultRates(seed, deaths=0.02, saves=0.3, crashes=0.02)
    told.cli.curve = lambda lr, epoch: None if epoch == 2 and lr > 0.9 else steady(lr, epoch)
    told.cli.fit_through(sha(16, mode="async") if mode == "async" else text, faults, workers=3)
    monkeypatch.undo()
    for run in told.cli.states:
        for each in json.loads(told.why(run, Output.JSON))["decisions"]:
            assert each["ranked"] == knew[each["rung"], each["known"]]
            assert len(each["ranked"]) == each["known"]
            assert each["ranked"][each["rank"] - 1] == {"run": run, "value": each["value"]}
            if mode == "async":
                assert each["ranked"][min(each["keep"], each["known"]) - 1]["value"] == each["cut"]


def witnessed(decide, knew):
    """The same, noting what each decision knew by its rung and how much that was."""

    def decided(policy, *heard, **how):
        decisions = decide(policy, *heard, **how)
        for each in decisions:
            ranked = [{"run": run, "value": value} for run, value in policy.ranking(each)]
            knew[each.rung, each.known] = ranked
        return decisions

    return decided


def test_a_run_that_is_not_there_is_refused(told):
    told.fit(sha(8))
    with pytest.raises(Refusal) as refused:
        told.why(9)
    assert [problem.code for problem in refused.value.problems] == ["E512"]
