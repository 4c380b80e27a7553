"""Data workers prepare rows ahead, with the bits of rows prepared in the worker; failures name rows."""

import os
import signal
import subprocess
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rapidfire_cli.training import data_pool
from rapidfire_cli.training.data_pool import DataPool
from rapidfire_cli.training.data_worker import NICER
from rapidfire_cli.training.equality import equal
from rapidfire_cli.training.shared_batches import Segments, packed, read
from tests.processes import forked
from tests.shares import WHOLE
from tests.training.noisy import FRAGILE, SPEC
from tests.training.sandbox import TrainingSandbox, leaf, same


def pool(place):
    """The sandbox's data workers."""
    return place.executor._shared.rows._pool


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    """Makes a sandbox whose data workers end with the test; they are forked, unless they start `anew`."""
    made = []

    def make(spec=SPEC, name="pooled", anew=WHOLE, **options):
        if not anew:
            usual = SimpleNamespace(Popen=forked.data_worker, DEVNULL=subprocess.DEVNULL)
            monkeypatch.setattr(data_pool, "subprocess", usual)
        made.append(TrainingSandbox(tmp_path / name, spec, **options))
        return made[-1]

    yield make
    for each in made:
        each.executor.close()


@pytest.mark.parametrize("most", [2, pytest.param(4, marks=pytest.mark.campaign)])
def test_bits_do_not_depend_on_data_workers_prefetch_cache_and_stops(sandbox, most):
    config = leaf(batch_size=5, grad_accumulation=2)
    alone = sandbox(name="alone", data_cache=0)
    alone.train(config, until=3)
    expected = alone.weights(), alone.epochs()
    place = sandbox(data_workers=most, chunks=2, data_cache=0)

    for number, (workers, ahead) in enumerate([(1, 1), (1, 8), (most, 1), (most, 8)], start=1):
        pool(place)._count, pool(place).ahead = workers, ahead
        for ticks in range(1, 7):  # turns of two runs, inside epochs, with batches ready for the next
            place.train(config, until=ticks, run=number)
            place.train(leaf(batch_size=3), until=ticks, run=9)
        place.stop_at = place.pulses + 3
        place.train(config, until=6, run=10 + number)  # stops inside an epoch, and starts again from disk
        place.evict(10 + number)
        place.train(config, until=6, run=10 + number)
        for run in (number, 10 + number):
            assert same(place.weights(run), expected[0])
            assert place.epochs(run) == expected[1]
            assert "without data workers" not in place.log(run)
    assert len(pool(place)._workers) == most
    niceness = {os.getpriority(os.PRIO_PROCESS, each.process.pid) for each in pool(place)._workers}
    assert niceness == {os.getpriority(os.PRIO_PROCESS, 0) + NICER}
    assert not pool(place)._results
    assert not any(worker.tasks for worker in pool(place)._workers)


def test_what_fails_in_a_data_worker_fails_its_run_alone(sandbox):
    place = sandbox(FRAGILE, data_workers=1, data_cache=2**20, chunks=2)
    causes = {
        "raise": "row 33 of `train`: ValueError: a bad row (tests/training/noisy.py:",
        "die": "row 33 of `train`: the data worker that prepared it was killed by SIGKILL",
        "shrink": "a batch of `train` cannot be collated: `x` is a Tensor of shape (6,) in row ",
        "die while opening": "a data worker was killed by SIGKILL while it loaded the data or called ",
    }
    place.train(leaf(), until=1, run=9)
    time.sleep(0.5)
    os.kill(pool(place)._workers[0].process.pid, signal.SIGKILL)  # while it has nothing to do
    for run, (fail, cause) in enumerate(causes.items(), start=1):
        place.train(leaf(user_knobs={"fail": fail}), until=6, run=run)
        assert place.failure(run).cause.startswith(cause)
        assert "without data workers" not in place.log(run)
    place.train(leaf(user_knobs={"fail": "raise while opening"}), until=6, run=8)
    place.train(leaf(), until=6, run=9)

    alone = sandbox(FRAGILE, "alone", data_cache=0)
    alone.train(leaf(), until=3)
    assert same(place.weights(8), alone.weights())
    assert same(place.weights(9), alone.weights())
    assert "without data workers: OSError: only one process may do this" in place.log(8)


@pytest.mark.parametrize("spec", ["Scheduled", "LateTransform"])
def test_rows_that_depend_on_their_order_or_the_model_are_prepared_in_the_worker(sandbox, spec):
    place = sandbox(f"tests.training.specs:{spec}", data_workers=1)
    place.train(leaf(), until=1)

    assert "rows of `train` are prepared without data workers: " in place.log()
    assert not pool(place)._workers


@pytest.mark.parametrize(
    "batch",
    [
        {"x": torch.randn(3, 4), "y": torch.arange(3), "z": torch.tensor(True), "empty": torch.zeros(0, 3)},
        [torch.randn(2, 3).t(), torch.randn(2, dtype=torch.bfloat16), torch.randn(3).numpy(), "text", None],
        ({"deep": [torch.zeros(2, dtype=torch.complex64)]}, torch.eye(2).to_sparse()),
        (),
    ],
)
def test_a_batch_arrives_as_it_was_sent(batch):
    segments = Segments()
    placed = segments.place(packed(batch))
    memory = segments._all[placed.segment]
    arrived = read(np.frombuffer(memory, np.uint8), placed.spans)
    os.close(placed.descriptor)

    assert equal(arrived, batch)


def test_segments_are_used_again_and_replaced_when_they_are_too_small():
    segments = Segments()
    first = segments.place(packed(torch.zeros(10)))
    segments.release([first.segment])
    again = segments.place(packed(torch.zeros(20)))
    segments.release([again.segment])
    larger = segments.place(packed(torch.zeros(10**6)))
    for each in (first, larger):
        os.close(each.descriptor)

    assert (again.segment, again.descriptor, again.dropped) == (first.segment, None, ())
    assert larger.dropped == (first.segment,)


def test_batches_of_the_validation_and_the_next_epoch_are_begun_before_an_epoch_ends(sandbox, monkeypatch):
    asked = []
    submit = DataPool.submit
    take = DataPool.take
    monkeypatch.setattr(
        DataPool, "submit", lambda self, *task: asked.append(task[1:4]) or submit(self, *task)
    )
    monkeypatch.setattr(DataPool, "take", lambda self, task: asked.append("take") or take(self, task))
    place = sandbox(data_workers=1, prefetch=3, data_cache=0, anew=True)
    place.train(leaf(batch_size=20, epochs=2), until=2)  # two batches an epoch, and one to validate

    first, second = ([("train", epoch, batch) for batch in (0, 1)] for epoch in (1, 2))
    validation = ("validation", 0, 0)
    assert [task for task in asked if task != "take"] == [*first, validation, *second, validation]
    assert asked[:6] == [*first, validation, "take", second[0], "take"]
    assert not pool(place)._results
