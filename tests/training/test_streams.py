"""Rows that can only be iterated, and epochs of a given number of optimizer steps."""

import datasets
import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset

from rapidfire_cli.training.epoch_rows import epoch_rows
from rapidfire_cli.training.train_config import train_config
from tests.shares import share
from tests.training.noisy import Blobs, blob, noise
from tests.training.sandbox import TrainingSandbox, leaf, same

LENGTH = 23


class Noisy(IterableDataset):
    """Passes of different lengths, whose rows draw from every generator."""

    passes = 0

    def __init__(self):
        self.own = np.random.default_rng()
        self.number = 0

    def set_epoch(self, number):
        self.number = number

    def __iter__(self):
        Noisy.passes += 1
        generator = torch.Generator().manual_seed(self.number)
        for index in range(LENGTH + self.number):
            drawn = noise().sum() + self.own.normal()
            yield {**blob(generator, index), "drawn": drawn.float()}


def examples():
    for index in range(LENGTH):
        yield {"x": [float(index % 5), 1.0, float(index % 3), 0.5, -1.0, 2.0], "labels": index % 3}


def library():
    return datasets.IterableDataset.from_generator(examples).shuffle(seed=3, buffer_size=7)


def finite():
    return (blob(torch.Generator().manual_seed(index), index) for index in range(15))


class Base(Blobs):
    """Its train split is `made`; its validation split is a function that returns an iterator."""

    made = Noisy

    def load_data(self, data, cfg):
        return {"train": type(self).made(), "validation": finite}

    def row_prep(self, row, cfg, mode):
        row = {**row, "x": torch.as_tensor(row["x"]) + 0.1 * noise()[0] * (mode == "train")}
        return {**row, "x": row["x"] + row.pop("drawn")} if "drawn" in row else row


class Torch(Base):
    pass


class Library(Base):
    made = staticmethod(library)


class Function(Base):
    made = staticmethod(lambda: examples)


class Generator(Base):
    made = staticmethod(examples)


class Endless(Base):
    made = staticmethod(lambda: iter(int, 1))


class Empty(Base):
    made = staticmethod(lambda: lambda: iter(()))


class Indexed(Base):
    made = staticmethod(lambda: [*examples()])


def place(tmp_path, spec, name="place", **options):
    return TrainingSandbox(tmp_path / name, f"{__name__}:{spec.__name__}", **options)


CONFIG = leaf(batch_size=4, grad_accumulation=2, steps_per_epoch=5)  # 40 rows: over the end of each pass


@pytest.mark.parametrize("spec", share([Torch, Library, Function, Indexed], 2))
def test_a_run_continues_bit_for_bit_inside_an_epoch_and_a_pass(tmp_path, spec):
    alone = place(tmp_path, spec, "alone")
    alone.train(CONFIG, until=3)
    for stop in (1, 7, 19):  # inside a first pass, and in the pulses of steps and validations after it
        stopped = place(tmp_path, spec, f"{stop}", chunks=2)
        stopped.stop_at = stop
        stopped.train(CONFIG, until=6)
        stopped.train(leaf(batch_size=3, steps_per_epoch=2), until=2, run=2)  # another run of the same data
        stopped.train(CONFIG, until=3)
        continued = place(tmp_path, spec, f"{stop}", chunks=2)
        continued.train(CONFIG, until=6)
        assert same(continued.weights(), alone.weights())
        assert {**stopped.epochs(), **continued.epochs()} == alone.epochs()


def test_an_epoch_goes_on_where_the_one_before_ended(tmp_path):
    Noisy.passes = 0
    one = place(tmp_path, Torch, "one")
    one.train(leaf(batch_size=8, epochs=4, steps_per_epoch=2), until=4)
    assert Noisy.passes == 1 + 3  # for the fingerprint; 64 rows are 23, 24 and 17


def test_rows_by_index_are_all_trained_on_once_in_each_pass(tmp_path):
    its = train_config(leaf(batch_size=5, steps_per_epoch=2))
    rows = torch.cat([epoch_rows(its, 42, epoch, LENGTH, is_stream=False) for epoch in range(1, 8)])
    assert len(rows) == 70
    for each in (0, 1, 2):
        assert sorted(rows[each * LENGTH : (each + 1) * LENGTH].tolist()) == [*range(LENGTH)]
    assert not rows[:LENGTH].equal(rows[LENGTH : 2 * LENGTH])

    sandbox = place(tmp_path, Indexed)
    sandbox.train(leaf(batch_size=64, steps_per_epoch=2, drop_last=True), until=3)  # batches are always full
    assert sandbox.executor._runs == {}
    assert sandbox.checkpoints()[-1].name.startswith("step-")


@pytest.mark.parametrize(
    ("spec", "train", "cause"),
    [
        (Torch, {}, "the rows of the train split can only be iterated (tests/training/test_streams.py:"),
        (
            Generator,
            {"steps_per_epoch": 2},
            "load_data's train split is a generator, not a map-style dataset",
        ),
        (Endless, {"steps_per_epoch": 2}, "load_data's train split is a callable_iterator, not a map-style"),
        (Empty, {"steps_per_epoch": 2}, "row 0 of `train`: ValueError: the train split has no rows"),
        (
            Torch,
            {"steps_per_epoch": 2, "optimizer": {"name": "LBFGS"}},
            "LBFGS reads a batch several times, and the rows of the train split can only be iterated",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_before_training(tmp_path, spec, train, cause):
    sandbox = place(tmp_path, spec)
    sandbox.train(leaf(**train), until=1)

    assert sandbox.failure().cause.startswith(cause)
    assert sandbox.failure().step == 0


def test_a_stream_is_read_without_data_workers(tmp_path):
    sandbox = place(tmp_path, Torch, data_workers=1)
    sandbox.train(CONFIG, until=3)
    sandbox.executor.close()
    alone = place(tmp_path, Torch, "alone")
    alone.train(CONFIG, until=3)

    assert "prepared without data workers: they can only be iterated" in sandbox.log()
    assert same(sandbox.weights(), alone.weights())
