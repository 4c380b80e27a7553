"""A feed tells what was recorded since the last look, and that the journal is another one."""

import math
from dataclasses import replace

import pytest

from rapidfire_cli.facts import (
    EpochEnded,
    Metric,
    RequestTaken,
    RunChanged,
    TurnEnded,
    TurnStarted,
    WorkerDied,
    WorkerStarted,
)
from rapidfire_cli.problems import Refusal
from rapidfire_cli.requests import Answer, Request, Stop
from rapidfire_cli.store.feed import Feed, Replaced, latest_turns, workers
from rapidfire_cli.store.queries import overview
from rapidfire_cli.terms import RunState
from tests.store.sweep import METADATA, enrolled, epoch


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


def facts(news):
    return [event.fact for event in news.events]


def test_a_feed_tells_each_fact_once_in_its_order_and_nothing_of_the_time_before(path):
    journal = enrolled(path)
    journal.record([RunChanged(1, RunState.RUNNING)])
    feed = Feed(path)
    assert feed.look() is None
    told = [epoch(1, 1, 0.5), EpochEnded(1, 2, 40, (Metric("validation", "loss", math.inf),), 2.0)]
    journal.record(told[:1])
    journal.record(told[1:])
    assert facts(feed.look()) == told
    assert feed.look() is None
    assert feed.seq == 3


def test_a_feed_can_begin_after_any_event(path):
    journal = enrolled(path)
    told = [RunChanged(run, RunState.RUNNING) for run in (1, 2, 3)]
    journal.record(told)
    feed = Feed(path, after=1)
    assert facts(feed.look()) == told[1:]
    assert feed.look() is None
    journal.record([RunChanged(1, RunState.COMPLETED)])
    assert facts(feed.look()) == [RunChanged(1, RunState.COMPLETED)]


def test_a_turn_is_told_when_it_begins_when_it_ends_and_when_its_worker_dies(path):
    journal = enrolled(path, metadata=replace(METADATA, chunks=4))
    journal.record([TurnStarted(1, 0, 4), TurnStarted(2, 1, 4)])
    feed = Feed(path)
    journal.record([TurnEnded(1, 0, 2, 10, (Metric("train", "loss", 0.7),)), TurnStarted(3, 0, 4)])
    ended, begun = feed.look().turns
    assert (ended.run, ended.at, ended.ended is None, dict(ended.metrics)) == (1, 2, False, {"loss": 0.7})
    assert (begun.run, begun.slot, begun.ended) == (3, 0, None)
    journal.record([WorkerDied(1, "killed by SIGKILL", 2)])
    [died] = feed.look().turns
    assert (died.run, died.at, died.ended is None) == (2, None, False)
    assert [turn.run for turn in latest_turns(path)] == [2, 3]


def test_the_workers_of_the_fit_that_trains_now_are_those_since_it_began(path):
    journal = enrolled(path)
    journal.record([started := WorkerStarted(0, 4711, "cpu")])
    assert workers(path, since=1_700_000_000.0) == (started,)
    assert workers(path, since=1_700_000_001.0) == ()


def test_a_request_is_told_with_its_answers(path):
    journal = enrolled(path)
    feed = Feed(path)
    request = Request("3d0c9a52-2c4c-4f43-9a4e-0d6a6f6f0001", "top", Stop((1,)), uid=1000, pid=7)
    taken = RequestTaken(request, (Answer(1, "applied", "stopped", changed=True),))
    journal.record([taken])
    [recorded] = feed.look().requests
    assert recorded.taken == taken
    assert feed.look() is None


def test_a_journal_that_is_gone_or_another_is_told(path):
    enrolled(path).close()
    feed = Feed(path)
    moved = path.with_name("moved.db")
    path.rename(moved)
    with pytest.raises(Replaced):
        feed.look()
    enrolled(path).close()
    with pytest.raises(Replaced):
        feed.look()


def test_a_damaged_journal_is_refused(path):
    enrolled(path).close()
    data = bytearray(path.read_bytes())
    data[100:] = b"\xff" * (len(data) - 100)
    path.write_bytes(data)
    with pytest.raises(Refusal) as refused:
        Feed(path)
    assert refused.value.problems[0].code == "E604"


def test_an_empty_file_of_a_writer_that_was_killed_at_birth_has_nothing_to_follow(path):
    path.touch()
    with pytest.raises(Refusal) as refused:
        Feed(path)
    assert refused.value.problems[0].code == "E602"


def test_a_writer_that_closes_merges_its_log_though_a_feed_is_open(path, tmp_path):
    journal = enrolled(path)
    feed = Feed(path)
    journal.record([RunChanged(1, RunState.COMPLETED)])
    journal.close()
    alone = tmp_path / "alone.db"
    alone.write_bytes(path.read_bytes())  # without the log
    assert overview(alone, alive=False).rows[0].state is RunState.COMPLETED
    assert facts(feed.look()) == [RunChanged(1, RunState.COMPLETED)]
