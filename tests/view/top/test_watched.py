"""What is known follows from the journal, also where a part of it is told twice."""

from rapidfire_cli.facts import BracketBegun, Decision, RunJoined, Verdict
from rapidfire_cli.store.feed import JournalEvent, News
from rapidfire_cli.store.history import ledger
from rapidfire_cli.store.queries import overview
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.top.watched import watched
from tests.store.sweep import enrolled, epoch
from tests.view.sweeps import sweep


def known(home):
    journal = home / "journal.db"
    return watched(overview(journal, alive=True), True, ledger(journal), (), ())


def news(*facts):
    return News(tuple(JournalEvent(place, 0.0, fact) for place, fact in enumerate(facts)), (), ())


def test_a_fold_over_news_knows_what_a_new_reader_reads(tmp_path):
    journal = enrolled(tmp_path / "journal.db", count=4)
    folded, told = known(tmp_path), [*sweep(4, failing=3)]
    folded.take(news(*told))
    journal.record(told)
    assert folded.rows == known(tmp_path).rows
    assert folded.known == known(tmp_path).known
    assert folded.best() == known(tmp_path).best() != frozenset()


def test_facts_that_come_twice_change_nothing(tmp_path):
    journal = enrolled(tmp_path / "journal.db", count=2)
    verdict = Verdict(1, 0.5, 1, True)
    told = [
        BracketBegun(1, "{}", (1,), (5,)),
        RunJoined(2, 1, 5),
        epoch(1, 1, 0.5),
        Decision(1, "halving", 1, 1, 1, 1, 0.5, 3, (verdict,)),
    ]
    journal.record(told)
    folded = known(tmp_path)
    folded.take(news(*told))
    assert folded.ledger == [each for each in told if each != epoch(1, 1, 0.5)]
    assert folded.rows == known(tmp_path).rows


def test_an_epoch_that_is_reported_late_does_not_turn_a_run_back(tmp_path):
    enrolled(tmp_path / "journal.db", count=1)
    folded = known(tmp_path)
    folded.take(news(epoch(1, 2, 0.75), epoch(1, 1, 0.5)))
    assert folded.rows[1].epoch == 2 and folded.rows[1].metrics["validation"]["top1_accuracy"] == 0.75
    assert folded.rows[1].best.epoch == 2
    assert folded.state_of(folded.rows[1]) is RunState.QUEUED
