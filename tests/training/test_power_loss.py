"""Power may fail at any moment of a run's life; what its worker told to be durable is there afterwards."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pytest

from rapidfire_cli.durable import publication
from rapidfire_cli.facts import Saved, TurnEnded
from tests.durable.power import Disk, Recorder, State, lay
from tests.shares import share
from tests.training.sandbox import TrainingSandbox, leaf

LOG = "log.txt"
MODEL, FINAL = "model.safetensors", "1/final.safetensors"


@dataclass
class Life:
    """The durable calls of a run that is trained by two workers, and after how many it told what."""

    runs: Path
    recorder: Recorder = field(default_factory=Recorder)
    told: list[tuple[int, str]] = field(default_factory=list)  # what must be there from then on

    def train(self) -> None:
        """A first worker begins, and is killed before it has published anything; a second one ends it."""
        with self.recorder:
            TrainingSandbox(self.runs).train(leaf(), until=1)
            second = TrainingSandbox(self.runs, checkpoint_every=8)
            second.executor._tell = self.hear
            second.train(leaf(), until=3)

    def hear(self, report: object) -> None:
        """What the second worker tells."""
        if isinstance(report, Saved):
            self.told.append((len(self.recorder.steps), f"1/step-{report.step:010d}-*"))
        if isinstance(report, TurnEnded):
            self.told.append((len(self.recorder.steps), FINAL))

    def states(self, left_out: int = -1) -> Iterator[tuple[State, list[str]]]:
        """Each state in which the disk may wake up, and what was promised by then."""
        disk, seen = Disk(self.runs, self.recorder.bytes), set()
        for at, (operation, paths) in enumerate(self.recorder.steps, start=1):
            if at != left_out and paths[0].name != LOG:
                disk.do("open" if paths[0].name == MODEL and operation == "write" else operation, paths)
            told = [pattern for moment, pattern in self.told if moment <= at]
            promised = told[-2:] if FINAL in told else told[-1:]  # older checkpoints go
            for state in disk.states():
                if (key := f"{state}{promised}") not in seen:
                    seen.add(key)
                    yield state, promised


def wrong(states: Iterator[tuple[State, list[str]]], place: Path) -> Iterator[str]:
    """What is missing or damaged in any of the states."""
    for at, (state, promised) in enumerate(states):
        place.mkdir(exist_ok=True)
        lay(state, woken := place / str(at))
        yield from (pattern for pattern in promised if not [*woken.glob(pattern)])
        for checkpoint in woken.glob("1/step-*"):
            try:
                publication.verify(checkpoint)
            except publication.Damaged as damage:
                yield str(damage)


@pytest.fixture(scope="module")
def life(tmp_path_factory) -> Life:
    life = Life(tmp_path_factory.mktemp("runs"))
    life.train()
    return life


def test_whenever_the_power_fails_what_was_told_durable_is_there(life, tmp_path):
    assert len(life.told) == 4  # three checkpoints, and the end
    assert [*wrong(life.states(), tmp_path)] == []


def test_an_end_that_a_dead_worker_had_not_made_durable_is_so_when_it_is_told(tmp_path):
    life = Life(tmp_path / "runs")
    life.runs.mkdir()
    with life.recorder:
        TrainingSandbox(life.runs).train(leaf(), until=3)
        ends = [at for at, (operation, _) in enumerate(life.recorder.steps) if operation == "rename"]
        del life.recorder.steps[ends[-2] + 1 :]  # killed after its last checkpoint had got its name
        (life.runs / FINAL).unlink()
        TrainingSandbox(life.runs).train(leaf(), until=3)
    life.told = [(len(life.recorder.steps), FINAL)]
    assert [*wrong(life.states(), tmp_path / "woken")] == []


def test_without_any_one_sync_something_would_be_missing(life, tmp_path):
    syncs = [at for at, (operation, _) in enumerate(life.recorder.steps, start=1) if operation == "sync"]
    assert syncs
    for at in share(syncs, 3):
        found = wrong(life.states(left_out=at), tmp_path / str(at))
        assert [*islice(found, 1)], f"{life.recorder.steps[at - 1]} could be left out"
