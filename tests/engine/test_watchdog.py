"""A turn that stands still is told from one that takes its time."""

from dataclasses import dataclass, field

import pytest

from rapidfire_cli.engine.local.heartbeat import Page, blank
from rapidfire_cli.engine.ports import Heartbeat
from rapidfire_cli.engine.watchdog import DUMPING, Watchdog


@dataclass
class Watched:
    """A worker as the watch sees it."""

    page: Page = field(default_factory=lambda: Page(blank()))
    dumps: int = 0

    def heartbeat(self) -> Heartbeat:
        return self.page.read()

    def dump(self) -> None:
        self.dumps += 1


class Hour:
    """An hour in which the test says how time goes."""

    def __init__(self, hang_timeout=60.0):
        self.now = 1000.0
        self.worker = Watched()
        self.watchdog = Watchdog(hang_timeout, lambda: self.now)
        self.found = []

    def begin(self, run=1):
        self.watchdog.begin(0, self.worker, run)

    def pass_seconds(self, seconds):
        for _ in range(seconds):
            self.now += 1
            self.found += self.watchdog.look()


@pytest.fixture
def hour():
    return Hour()


def test_a_first_step_may_take_for_ever(hour):
    hour.begin()
    hour.pass_seconds(3600)
    assert hour.found == [] and hour.worker.dumps == 0


def test_a_later_step_that_takes_too_long_is_a_hang_once_its_stack_is_written(hour):
    hour.begin()
    hour.worker.page.mark(1)
    hour.pass_seconds(60)
    assert (hour.found, hour.worker.dumps) == ([], 0)
    hour.pass_seconds(1)
    assert (hour.found, hour.worker.dumps) == ([], 1)
    hour.pass_seconds(int(DUMPING))
    assert (hour.found, hour.worker.dumps) == ([(0, "hung: no step in 60 seconds")], 1)


def test_every_step_starts_the_time_anew(hour):
    hour.begin()
    for step in range(100):
        hour.worker.page.mark(step)
        hour.pass_seconds(50)
    assert hour.found == []


def test_the_first_step_of_a_later_turn_is_no_first_step(hour):
    hour.begin()
    hour.worker.page.mark(1)
    hour.watchdog.end(0)
    hour.pass_seconds(3600)
    hour.begin()
    hour.pass_seconds(70)
    assert hour.found


def test_a_run_that_left_or_lost_its_worker_is_opened_again_so_its_first_step_may_take_long(hour):
    for leave in (lambda: hour.watchdog.close(1), lambda: hour.watchdog.lose(0)):
        hour.begin()
        hour.worker.page.mark(1)
        hour.watchdog.end(0)
        leave()
        hour.begin()
        hour.pass_seconds(3600)
    assert hour.found == []


def test_a_controller_that_slept_blames_nobody(hour):
    hour.begin()
    hour.worker.page.mark(1)
    hour.pass_seconds(1)
    hour.now += 1e6  # the machine was suspended, the debugger had stopped us
    hour.pass_seconds(10)
    assert hour.found == []


def test_without_a_timeout_nothing_is_a_hang():
    hour = Hour(hang_timeout=None)
    hour.begin()
    hour.worker.page.mark(1)
    hour.pass_seconds(10_000)
    assert hour.found == []
