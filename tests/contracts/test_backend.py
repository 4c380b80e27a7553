"""What every backend and its workers keep to; the fakes, too, or what is tested with them means little."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rapidfire_cli.engine.local.backend import LocalBackend
from rapidfire_cli.engine.messages import Assignment, Evict, Order, Probe, Probed, Ready, Report, Train
from rapidfire_cli.engine.ports import Backend, Slot, Worker, WorkerGone
from rapidfire_cli.engine.ray.backend import RayBackend, wish
from rapidfire_cli.facts import EpochEnded, Evicted, Saved, TurnEnded
from tests.app.fake_workers import Cli, Crew, FaultRates
from tests.engine.local.test_backend import COMMAND, SETUP
from tests.engine.ray.clusters import two_nodes

SLOTS = [Slot(index, "cpu", visible="", share=0.5) for index in range(2)]
OPTIMIZER = {"name": "SGD", "args": {"lr": 0.5}}
CONFIG = json.dumps({"epochs": 2, "train": {"epochs": 2, "batch_size": 1, "optimizer": OPTIMIZER}})
RUN = Assignment(7, CONFIG, 42, "runs/7")


@dataclass
class Stage:
    """A backend, and how one of its workers is made to die in its next turn."""

    backend: Backend
    doom: Callable[[], Order]

    def started(self, slot: int = 1) -> Worker:
        """A worker that is ready."""
        worker = self.backend.start(self.backend.slots[slot])
        [ready] = self.reports(worker)
        assert isinstance(ready, Ready)
        return worker

    def reports(self, worker: Worker, until: type[Report] = object) -> list[Report]:  # type: ignore[assignment]
        """What it reports, up to one `until`."""
        told: list[Report] = []
        while not any(isinstance(report, until) for report in told):
            for speaking in self.backend.wait([worker], 10):
                told += speaking.receive()
        return told


@pytest.fixture(scope="module")
def on_nodes(tmp_path_factory) -> Iterator[RayBackend]:
    """A backend on a cluster, for all tests: its workers are new for each."""
    place = tmp_path_factory.mktemp("cluster")
    with two_nodes() as cluster:
        asked = wish(cluster.address, place / "cluster", workers=2, threads=1)
        with pytest.MonkeyPatch.context() as patched:
            for name, value in cluster.environment.items():
                patched.setenv(name, value)
            backend = RayBackend(replace(asked, command=tuple(COMMAND)), place / "ray.log")
        yield backend.use(lambda slot: replace(SETUP, misc=str(place)))
        backend.close()


@pytest.fixture(params=["local", "ray", "fake"])
def stage(request, tmp_path: Path) -> Iterator[Stage]:
    dying = Assignment(8, json.dumps({"epochs": 2, "does": "kill"}), 42, "runs/8")
    if request.param == "local":
        backend = LocalBackend(SLOTS, COMMAND, dict.fromkeys(range(2), SETUP), tmp_path)
        yield Stage(backend, lambda: Train((dying,), 1))
    elif request.param == "ray":
        yield Stage(request.getfixturevalue("on_nodes"), lambda: Train((dying,), 1))
    else:
        faults = FaultRates()

        def doom() -> Order:
            faults.deaths = 1.0
            return Train((RUN,), 1)

        yield Stage(Crew(SLOTS, Cli(tmp_path, lambda lr, epoch: lr), faults, []), doom)


def test_the_index_of_a_slot_is_its_place(stage: Stage):
    assert [slot.index for slot in stage.backend.slots] == [0, 1]


def test_a_worker_first_reports_that_it_is_ready_then_answers(stage: Stage):
    worker = stage.started()
    worker.send(Probe(()))
    assert stage.reports(worker) == [Probed(())]
    worker.kill()


def test_a_turn_ends_with_a_report_that_names_the_run_and_the_slot(stage: Stage):
    worker = stage.started(slot=1)
    worker.send(Train((RUN,), 1))
    told = stage.reports(worker, until=TurnEnded)
    assert [type(report) for report in told if not isinstance(report, Saved)] == [EpochEnded, TurnEnded]
    ended = told[-1]
    assert isinstance(ended, TurnEnded) and (ended.run, ended.slot, ended.at) == (7, 1, 1)
    worker.kill()


def test_an_evicted_run_is_saved_first(stage: Stage):
    worker = stage.started()
    worker.send(Train((RUN,), 1))
    stage.reports(worker, until=TurnEnded)
    worker.send(Evict(7))
    assert stage.reports(worker, until=Evicted) == [Saved(7, 1, 1), Evicted(7, 1)]
    worker.kill()


def test_receiving_waits_for_nothing(stage: Stage):
    worker = stage.started()
    assert [*worker.receive()] == []
    worker.kill()


def test_a_worker_that_dies_is_reported_gone_and_its_heartbeat_stays(stage: Stage):
    worker = stage.started()
    worker.send(stage.doom())
    with pytest.raises(WorkerGone, match="killed by SIGKILL"):
        stage.reports(worker, until=Ready)
    assert worker.heartbeat().step >= 0


def test_killing_twice_is_killing_once_and_orders_after_it_are_dropped(stage: Stage):
    worker = stage.started()
    worker.kill()
    worker.kill()
    worker.send(Probe(()))
    worker.dump()
