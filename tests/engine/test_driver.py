"""The driver carries actions to real processes and their reports back, and records what happened."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rapidfire_cli.engine.driver import Driver
from rapidfire_cli.engine.jobs import Job, NoWorker, Timeouts
from rapidfire_cli.engine.local.backend import LocalBackend, log_of
from rapidfire_cli.engine.messages import Assignment, Probe, Probed
from rapidfire_cli.engine.ports import NoRetry, Slot
from rapidfire_cli.facts import (
    EpochEnded,
    Fact,
    RunAdmitted,
    RunChanged,
    RunFailed,
    Saved,
    TurnStarted,
    WorkerDied,
    WorkerStarted,
)
from rapidfire_cli.schedule import actions
from rapidfire_cli.terms import Run, RunState
from tests.engine.local.test_backend import COMMAND, SETUP, SLOT

USUAL = Timeouts()


class Notebook:
    """A journal and an audience in memory: keeps what it is told, in order."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.told: list[Fact] = []

        self.kept = 0  # how many of the facts are durable

    def take(self, facts: Sequence[Fact]) -> None:
        self.facts += facts

    def commit(self) -> None:
        self.kept = len(self.facts)

    def tell(self, facts: Sequence[Fact]) -> None:
        self.told += facts
        assert self.told == self.facts[: self.kept], "people are told what is durable, and nothing else"


def job(run: int, **config: object) -> Job:
    leaf = json.dumps({"epochs": 2, **config})
    return Job(Assignment(run, leaf, 42, f"runs/{run}"), goal=2)


class Proposer:
    """Proposes `runs` one after the other, each when the one before is completed; lists them as they come."""

    def __init__(self, notebook: Notebook, runs: Sequence[Run]) -> None:
        self.notebook = notebook
        self.waiting = list(runs)
        self.listed: list[int] = []

    @property
    def is_open(self) -> bool:
        return bool(self.waiting)

    def bracket_of(self, run: Run) -> int | None:
        return None

    def proposals(self) -> Sequence[Run]:
        ended = {run for run, (state, _) in ends(self.notebook).items() if state is RunState.COMPLETED}
        return [self.waiting.pop(0)] if self.waiting and self.waiting[0].number - 1 in ended else []

    def committed(self) -> None:
        """Nothing follows from that."""

    def retry(self, run: int) -> Run | NoRetry:
        return NoRetry()

    def admit(self, run: Run) -> Assignment:
        started = [fact.run for fact in self.notebook.facts if isinstance(fact, TurnStarted)]
        assert run.number not in started, "it trains before it is listed"
        self.listed.append(run.number)
        return Assignment(run.number, run.config, run.seed, f"runs/{run.number}")


def proposed(*numbers: int) -> list[Run]:
    config = json.dumps({"epochs": 2, "train": {"epochs": 2}})
    return [Run(number, f"{number:016x}", 1, config, 42) for number in numbers]


def drive(
    tmp_path: Path,
    jobs: Sequence[Job],
    slots: int = 2,
    stop_after: int = 10**9,
    timeouts: Timeouts = USUAL,
    born: Sequence[Run] = (),
) -> Notebook:
    seats = [Slot(index, "cpu", visible="", share=0.5) for index in range(slots)]
    notebook = Notebook()
    proposer = Proposer(notebook, born)
    workers = LocalBackend(seats, COMMAND, dict.fromkeys(range(slots), SETUP), tmp_path)
    driver = Driver(workers, lambda: len(notebook.facts) >= stop_after, timeouts=timeouts)
    try:
        assert driver.probe(Probe(()), len(jobs)) == Probed(())
        by_run = {job.assignment.run: job for job in jobs}
        driver.train(by_run, (), notebook, notebook, proposer)
    finally:
        driver.close()
    assert proposer.listed == [fact.run.number for fact in notebook.facts if isinstance(fact, RunAdmitted)]
    return notebook


def ends(notebook: Notebook) -> dict[int, tuple[RunState, str]]:
    changes = [fact for fact in notebook.facts if isinstance(fact, RunChanged)]
    return {change.run: (change.state, change.cause) for change in changes}


def test_every_run_is_trained_to_its_goal(tmp_path):
    notebook = drive(tmp_path, [job(run) for run in range(1, 6)])
    assert ends(notebook) == dict.fromkeys(range(1, 6), (RunState.COMPLETED, ""))
    epochs = [(fact.run, fact.epoch) for fact in notebook.facts if isinstance(fact, EpochEnded)]
    assert sorted(epochs) == [(run, epoch) for run in range(1, 6) for epoch in (1, 2)]


def test_runs_that_are_proposed_meanwhile_are_listed_and_trained_until_no_more_can_come(tmp_path):
    notebook = drive(tmp_path, [job(1)], born=proposed(2, 3))
    assert ends(notebook) == dict.fromkeys((1, 2, 3), (RunState.COMPLETED, ""))


def test_a_stop_does_not_wait_for_proposals(tmp_path):
    patient = Timeouts(grace=math.inf)  # nothing but having finished ends it
    notebook = drive(
        tmp_path, [job(1)], stop_after=9, timeouts=patient, born=proposed(2, 9)
    )  # 8, which it follows, never ends
    assert 9 not in ends(notebook)


def test_a_run_that_raises_fails_alone(tmp_path):
    notebook = drive(tmp_path, [job(1), job(2, raises=True), job(3)])
    assert ends(notebook)[2] == (RunState.FAILED, "ValueError: no")
    assert ends(notebook)[1] == ends(notebook)[3] == (RunState.COMPLETED, "")


def test_a_run_that_kills_its_worker_is_retried_three_times_then_fails_with_the_cause(tmp_path):
    notebook = drive(tmp_path, [job(1, does="kill"), job(2)])
    assert ends(notebook)[1] == (RunState.FAILED, "worker killed by SIGKILL")
    assert ends(notebook)[2] == (RunState.COMPLETED, "")
    assert len([fact for fact in notebook.facts if isinstance(fact, WorkerDied)]) == 4


def test_no_more_workers_start_than_runs_wait(tmp_path):
    notebook = drive(tmp_path, [job(1)], slots=4)
    assert len([fact for fact in notebook.facts if isinstance(fact, WorkerStarted)]) == 1


def test_what_the_probe_finds_is_handed_over_before_any_turn(tmp_path):
    driver = Driver(LocalBackend([SLOT], COMMAND, {0: SETUP}, tmp_path), lambda: False)
    [finding] = driver.probe(Probe(("{}", '{"wrong": 1}')), 1).findings
    driver.close()
    assert finding.leaf == 1


@pytest.mark.parametrize("ready", [False, True])
def test_a_worker_that_is_killed_before_the_probe_is_answered_is_replaced(tmp_path, monkeypatch, ready):
    """One that is up already was asked, and takes the question with it."""
    monkeypatch.setenv("OBEDIENT", f"{'asked' if ready else 'killed'} {tmp_path / 'armed'}")
    (tmp_path / "armed").touch()
    notebook = drive(tmp_path, [job(run) for run in range(1, 4)], slots=1)
    assert ends(notebook) == dict.fromkeys(range(1, 4), (RunState.COMPLETED, ""))
    assert len([fact for fact in notebook.facts if isinstance(fact, WorkerDied)]) == 1


def test_when_no_worker_comes_up_the_last_ones_ending_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("OBEDIENT", "fails to start")
    driver = Driver(LocalBackend([SLOT], COMMAND, {0: SETUP}, tmp_path), lambda: False)
    with pytest.raises(NoWorker, match="ended with exit code 9") as ending:
        driver.probe(Probe(()), 1)
    assert log_of(tmp_path, ending.value.slot).exists()
    driver.close()


def test_a_stop_makes_what_is_trained_durable_and_trains_no_further(tmp_path):
    notebook = drive(tmp_path, [job(run) for run in range(1, 4)], slots=1, stop_after=4)
    assert {state for state, _ in ends(notebook).values()} == {RunState.INTERRUPTED}


def test_a_stop_with_thousands_of_resident_runs_lets_all_of_them_leave_at_once(tmp_path):
    """Many times more orders and reports than a pipe holds are under way in both directions."""
    runs = range(1, 2_001)
    four_facts_each = 4 * len(runs)  # it runs, its turn starts, its epoch ends, its turn is over
    notebook = drive(tmp_path, [job(run) for run in runs], slots=1, stop_after=four_facts_each - 100)
    assert ends(notebook) == dict.fromkeys(ends(notebook), (RunState.INTERRUPTED, ""))
    assert {fact.run for fact in notebook.facts if isinstance(fact, Saved)} == ends(notebook).keys()
    assert len(ends(notebook)) > len(runs) - 100


def test_what_has_not_stopped_when_the_grace_is_over_is_killed_and_interrupted(tmp_path):
    notebook = drive(tmp_path, [job(1, does="slow")], slots=1, stop_after=1, timeouts=Timeouts(grace=0.1))
    assert ends(notebook) == {1: (RunState.INTERRUPTED, "")}


def test_a_run_whose_turns_hang_is_given_up_with_the_cause(tmp_path):
    timeouts = Timeouts(hang_timeout=0.01)
    notebook = drive(tmp_path, [job(1, does="hang"), job(2)], timeouts=timeouts)
    assert ends(notebook) == {
        1: (RunState.FAILED, "worker hung: no step in 0.01 seconds"),
        2: (RunState.COMPLETED, ""),
    }
    [failure] = [fact for fact in notebook.facts if isinstance(fact, RunFailed)]
    assert (failure.kind, failure.step) == ("hung", 7)


def test_a_turn_of_several_runs_is_an_error_not_silence(tmp_path):
    driver = Driver(LocalBackend((), COMMAND, {}, tmp_path), lambda: False)
    with pytest.raises(AssertionError, match="several runs"):
        driver._do(actions.Train((0,), (1, 2), 1))


def gang(run: int, **config: object) -> Job:
    return replace(job(run, **config), gang=2)


def test_runs_on_one_slot_and_on_two_train_side_by_side(tmp_path):
    notebook = drive(tmp_path, [job(1), gang(2), job(3), gang(4)])
    assert ends(notebook) == dict.fromkeys(range(1, 5), (RunState.COMPLETED, ""))
    epochs = [(fact.run, fact.epoch) for fact in notebook.facts if isinstance(fact, EpochEnded)]
    assert sorted(epochs) == [(run, epoch) for run in range(1, 5) for epoch in (1, 2)]


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ({"does": "kill"}, "killed by SIGKILL"),
        ({"last": "exit"}, "ended with exit code 3"),
        ({"last": "lost"}, "Connection closed by peer"),
    ],
)
def test_a_lost_worker_takes_its_gang_along_and_only_the_run_is_to_blame(tmp_path, how, cause):
    notebook = drive(tmp_path, [gang(1, **how), job(2), job(3)])
    assert ends(notebook)[1] == (RunState.FAILED, f"worker {cause}")
    assert ends(notebook)[2] == ends(notebook)[3] == (RunState.COMPLETED, "")
    died = [fact for fact in notebook.facts if isinstance(fact, WorkerDied)]
    culprit = 0 if "does" in how else 1
    assert [(fact.slot, fact.run) for fact in died] == 4 * [(culprit, 1), (1 - culprit, None)]


def test_a_run_that_needs_more_slots_than_there_are_fails_alone(tmp_path):
    notebook = drive(tmp_path, [replace(job(1), gang=3), gang(2)])
    assert ends(notebook)[1] == (RunState.FAILED, "it needs 3 devices at once, and there are 2")
    assert ends(notebook)[2] == (RunState.COMPLETED, "")


def test_the_workers_of_a_gang_run_that_fails_are_replaced(tmp_path):
    notebook = drive(tmp_path, [gang(1, raises=True), gang(2)])
    assert ends(notebook) == {1: (RunState.FAILED, "ValueError: no"), 2: (RunState.COMPLETED, "")}
    assert sorted(fact.slot for fact in notebook.facts if isinstance(fact, WorkerDied)) == [0, 1]
    assert len([fact for fact in notebook.facts if isinstance(fact, WorkerStarted)]) == 4


@pytest.mark.campaign
def test_a_gang_that_hangs_is_replaced_as_a_whole(tmp_path):
    notebook = drive(tmp_path, [gang(1, last="hang")], timeouts=Timeouts(hang_timeout=0.3))
    assert ends(notebook)[1] == (RunState.FAILED, "worker hung: no step in 0.3 seconds")
    died = [fact for fact in notebook.facts if isinstance(fact, WorkerDied)]
    assert [fact.slot for fact in died] == 4 * [0, 1]
