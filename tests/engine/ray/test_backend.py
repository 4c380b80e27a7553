"""The controller's side of a cluster: workers behind a bridge, which says when they have certainly ended."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rapidfire_cli.engine.messages import Assignment, Probe, Train, decode
from rapidfire_cli.engine.ports import BackendGone, WorkerGone
from rapidfire_cli.engine.ray.backend import RayBackend, RayWorker, wish
from rapidfire_cli.engine.ray.wire import Beat, Gone, Kill, Lost, Record, Withdrawn, line, read
from tests.engine.local.test_backend import SETUP


@dataclass
class Stage:
    """A backend whose bridge says what the test says."""

    backend: RayBackend
    place: Path

    def say(self, record: Record) -> None:
        with (self.place / "says").open("ab") as file:
            file.write(line(record) + b"\n")

    def heard(self, count: int) -> list:
        """The first `count` lines after the bridge's own, decoded."""
        file = self.place / "hears"
        while not file.exists() or file.read_bytes().count(b"\n") < count + 1:
            time.sleep(0.01)
        lines = file.read_bytes().splitlines()[1 : count + 1]
        return [(each[0], decode(each[1])) if isinstance(each, tuple) else each for each in read(lines)]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    pretended = [sys.executable, "-m", "tests.engine.ray.pretended", f"{tmp_path}/says", f"{tmp_path}/hears"]
    asked = wish("pretended", tmp_path / "cluster")
    backend = RayBackend(asked, tmp_path / "ray.log", pretended).use(lambda slot: SETUP)
    stage = Stage(backend, tmp_path)
    yield stage
    for number in range(1, 4):
        stage.say(Gone(number, "killed"))
    backend.close()


def train(run: int) -> Train:
    return Train((Assignment(run, "{}", 42, "."),), 1)


def ending(stage: Stage, worker: RayWorker) -> str:
    with pytest.raises(WorkerGone) as gone:
        while True:
            for speaking in stage.backend.wait([worker], 5):
                [*speaking.receive()]
    return str(gone.value)


def test_a_run_is_given_to_another_worker_only_once_the_killed_one_has_ended(stage: Stage):
    first, second = (stage.backend.start(slot) for slot in stage.backend.slots)
    first.send(train(7))
    first.kill()
    second.send(Probe(()))
    second.send(train(7))
    second.send(Probe(("after",)))
    assert stage.heard(5)[2:] == [(1, train(7)), Kill(1), (2, Probe(()))]
    assert [*second.kept] == [train(7), Probe(("after",))]
    stage.say(Gone(1, "killed"))
    while second.kept:
        stage.backend.wait([second], 0.1)
    assert stage.heard(7)[5:] == [(2, train(7)), (2, Probe(("after",)))]


def test_a_run_of_another_worker_waits_for_nothing(stage: Stage):
    first, second = (stage.backend.start(slot) for slot in stage.backend.slots)
    first.send(train(7))
    first.kill()
    second.send(train(8))
    assert stage.heard(5)[4] == (2, train(8))


def test_slots_of_a_lost_node_are_withdrawn_before_its_workers_are_gone(stage: Stage):
    worker = stage.backend.start(stage.backend.slots[1])
    known = stage.backend.slots
    stage.say(Beat(1, marks=9, step=4))
    stage.say(Withdrawn((0, 1)))
    stage.say(Gone(1, "node lost"))
    assert ending(stage, worker) == "node lost"
    assert worker.heartbeat().step == 4
    assert stage.backend.slots is not known
    assert [slot.withdrawn for slot in stage.backend.slots] == [True, True]


def test_the_end_of_the_cluster_and_that_of_the_bridge_end_the_backend(stage: Stage):
    worker = stage.backend.start(stage.backend.slots[0])
    stage.say(Lost("the head has ended"))
    with pytest.raises(BackendGone, match="the head has ended"):
        stage.backend.wait([worker], 5)


def test_a_trace_stays_while_workers_may_live(tmp_path: Path):
    asked = wish("pretended", tmp_path / "cluster")
    with pytest.raises(BackendGone, match=r"see .*ray\.log"):
        RayBackend(asked, tmp_path / "ray.log", [sys.executable, "-c", "raise OSError('broken')"])
    assert not (tmp_path / "cluster").exists()  # there was no worker
    assert "broken" in (tmp_path / "ray.log").read_text()
