"""What shows an experiment leaves the machine to training."""

import os

import pytest

from rapidfire_cli.view.pace import LONGEST, SAVED, SHARE, Allowance


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


def test_a_few_changes_are_shown_at_once_and_more_of_them_as_often_as_there_is_time_for():
    allowance = Allowance()
    pauses = [allowance.pause(SAVED / 4, least=0.25, now=1.0) for _ in range(6)]
    assert pauses[:4] == [0.25] * 4
    assert pauses[4:] == pytest.approx([SAVED / 4 / (2 * SHARE), LONGEST])


def test_what_was_not_used_is_saved_up_to_a_limit():
    allowance = Allowance(left=-0.03, at=100.0)
    assert allowance.pause(0.0, least=0.25, now=102.0) == pytest.approx(3.0)
    assert allowance.pause(0.0, least=0.25, now=105.0) == 0.25
    allowance.pause(0.0, least=0.25, now=1e6)
    assert allowance.left == SAVED


def test_what_takes_long_is_shown_again_after_some_seconds_at_the_latest():
    allowance = Allowance()
    assert allowance.pause(60.0, least=0.25, now=1.0) == pytest.approx(LONGEST)
    assert allowance.pause(60.0, least=0.25, now=2.0) == pytest.approx(LONGEST)
