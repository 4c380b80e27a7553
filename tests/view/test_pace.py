"""What shows an experiment leaves the machine to training."""

import os

from rapidfire_cli.view.pace import LONGEST, SHARE, pause


def test_what_takes_longer_is_done_less_often(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})

    assert pause(0.0, 0.25) == 0.25
    assert pause(0.01, 0.25) == 0.01 / (2 * SHARE)
    assert pause(60.0, 0.25) == LONGEST
    assert pause(60.0, 2 * LONGEST) == 2 * LONGEST


def test_on_a_machine_with_many_cores_nothing_waits(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {*range(128)})
    assert pause(0.05, 0.25) == 0.25
