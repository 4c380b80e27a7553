"""A seeded share of the campaigns of kills, and how the whole is kept and reported."""

import json
import time

import pytest

from tests.campaign import __main__ as crew
from tests.campaign import kept, report
from tests.campaign.arena import SHORT
from tests.campaign.campaigns import Plan
from tests.campaign.kills import Reference, chain, reference, storm
from tests.campaign.outcome import Outcome
from tests.campaign.report import Ledger
from tests.campaign.starts import crowd
from tests.shares import WHOLE


@pytest.fixture(scope="module")
def known() -> Reference:
    return reference(SHORT, forked=not WHOLE)


def test_killed_at_random_the_sweep_ends_with_the_same_bits(known):
    outcome = storm(10_004, known, kills=1)
    assert outcome.failures == []
    assert outcome.done >= 1


@pytest.mark.campaign
def test_killed_during_recovery_three_times_in_a_row_the_sweep_ends_with_the_same_bits(known):
    outcome = chain(10_000, known, chains=1)
    assert outcome.failures == []
    assert outcome.done == 1


def test_of_many_simultaneous_starts_one_wins_and_the_others_name_it():
    assert crowd(10_000, size=10).failures == []


def plan(_name: str) -> Plan:
    """A campaign of 10, by three; its trial 2 fails."""

    def trial(seed: int) -> Outcome:
        outcome = Outcome("kills", seed, done=3)
        with outcome.judged():
            assert seed != 2, "not the same bits"
        return outcome

    return Plan(trial, 10, 3)


def test_a_campaign_goes_on_where_it_was_left_and_tells_how_to_repeat_what_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(crew, "plan", plan)
    file = tmp_path / "results.jsonl"
    crew.run("kills", 2, time.monotonic() - 1, Ledger(file))
    assert Ledger(file).trials == []
    Ledger(file).keep(plan("").trial(1), 10)
    crew.run("kills", 2, float("inf"), Ledger(file))
    ledger = Ledger(file)
    assert ledger.seeds("kills") == {0, 1, 2, 3} and ledger.complete("kills")
    ledger.write(tmp_path / "report.md")
    told = (tmp_path / "report.md").read_text()
    assert "| kills | processes killed | 12 of 10 | 0-3 | 1 |" in told
    assert "- `python -m tests.campaign replay kills 2`: " in told and "not the same bits" in told


def test_the_report_tells_how_long_anything_outlived_its_controller(tmp_path):
    ledger = Ledger(tmp_path / "results.jsonl")
    ledger.keep(Outcome("chains", 0, 1, controllers=4, slowest_death=0.25), 200)
    told = "\n".join(report._lines(ledger))
    assert "4 controllers and 0 workers" in told and "0.250 seconds" in told and told.endswith("None.")


def test_long_tests_that_passed_are_not_run_again_and_the_report_names_those_that_failed(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(kept, "KEPT", tmp_path / "kept.jsonl")
    file, fixed = tmp_path / "test_long.py", tmp_path / "fixed"
    second = f"def test_second(): assert pathlib.Path({str(fixed)!r}).exists()"
    file.write_text(f"import pathlib\ndef test_first(): pass\n{second}\n")
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--rootdir={tmp_path}", str(file))
    pytest.main([*options], plugins=[kept])
    tests = kept.tried(kept.KEPT)
    assert [(each.test, each.outcome) for each in tests] == [
        ("test_long.py::test_first", "passed"),
        ("test_long.py::test_second", "failed"),
    ]
    lines = [*report._lines(Ledger(tmp_path / "results.jsonl", tests=tests))]
    assert "| test_long.py | 1 | 0 | 1 |" in lines
    assert lines[-1] == "- `pytest 'test_long.py::test_second'`"
    fixed.touch()
    pytest.main([*options], plugins=[kept])
    ran = [json.loads(line)["test"] for line in kept.KEPT.read_text().splitlines()]
    assert ran == ["test_long.py::test_first", "test_long.py::test_second", "test_long.py::test_second"]
    assert [each.outcome for each in kept.tried(kept.KEPT)] == ["passed", "passed"]
