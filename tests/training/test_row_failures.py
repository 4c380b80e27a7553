"""Data and rows that cannot be used fail with split, row and field, and say what to write instead."""

from collections import namedtuple

import datasets
import pandas
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from tests.training import specs
from tests.training.sandbox import TrainingSandbox, leaf

COLUMNS = {"x": [[0.0] * 6, [1.0] * 6], "labels": [0, 1]}
TENSORS = TensorDataset(torch.randn(8, 6), torch.arange(8) % 3)
Pair = namedtuple("Pair", "x labels")


class Endless(IterableDataset):
    def __iter__(self):
        yield {"x": 1}

    def __len__(self):
        return 1


class Data(specs.Plain):
    """Loads what the test says, as training and validation split."""

    split = None

    def load_data(self, data, cfg):
        return {"train": self.split, "validation": self.split}


class Sized(specs.Plain):
    """Prepares rows of sizes that differ."""

    def row_prep(self, row, cfg, mode):
        return {"labels": row["labels"], "x": torch.zeros(3 + row["labels"])}


class Incomplete(specs.Plain):
    """Prepares some rows without labels."""

    def row_prep(self, row, cfg, mode):
        return dict(row) if row["labels"] < 2 else {"x": row["x"]}


class Refusing(specs.Plain):
    """Refuses every row, or only those of a label."""

    def row_prep(self, row, cfg, mode):
        if row["labels"] in cfg["user_knobs"]["refused"]:
            raise KeyError("pixels")
        return dict(row)


class Joining(specs.Plain):
    def collate(self, rows, cfg):
        raise ValueError("I join nothing")


def cause(tmp_path, spec, config=None, data_cache=2**20):
    """The one line that a run of the spec fails with."""
    place = TrainingSandbox(tmp_path, f"{__name__}:{spec}", data_cache=data_cache)
    place.train(config or leaf(), until=1)
    return place.failure().cause


@pytest.mark.parametrize(
    ("split", "kind", "instead"),
    [
        (pandas.DataFrame(COLUMNS), "a pandas.DataFrame", "datasets.Dataset.from_pandas(frame)"),
        (pandas.Series([1, 2]), "a pandas.Series", "datasets.Dataset.from_pandas(frame)"),
        (
            COLUMNS,
            "a dict",
            "it looks like columns (`x`, `labels`): return datasets.Dataset.from_dict(columns)",
        ),
        (DataLoader(TENSORS), "a torch.DataLoader", "return the dataset that it loads"),
        ("data/train.csv", "a str", "datasets.load_dataset"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("a ") else "",
)
def test_splits_without_rows_by_index(tmp_path, monkeypatch, split, kind, instead):
    monkeypatch.setattr(Data, "split", split)

    told = cause(tmp_path, "Data")
    assert told.startswith(f"load_data's train split is {kind}, not a map-style dataset (rows by index); ")
    assert instead in told


@pytest.mark.parametrize("split", [Endless(), datasets.Dataset.from_dict(COLUMNS).to_iterable_dataset()])
def test_rows_that_can_only_be_iterated_have_no_epochs_by_themselves(tmp_path, monkeypatch, split):
    monkeypatch.setattr(Data, "split", split)
    told = cause(tmp_path, "Data")
    assert told.startswith(
        "the rows of the train split can only be iterated (tests/training/test_row_failures.py:"
    )
    assert told.endswith(", in load_data): set `train.steps_per_epoch`")


@pytest.mark.parametrize(
    "split",
    [
        [{"x": torch.zeros(6), "labels": 0}] * 4,
        dict(enumerate([{"x": torch.zeros(6), "labels": 0}] * 4)),
        datasets.Dataset.from_dict(COLUMNS).with_format("torch"),
        [Pair(torch.zeros(6), 0)] * 4,
    ],
)
def test_rows_by_index_are_taken(tmp_path, monkeypatch, split):
    monkeypatch.setattr(Data, "split", split)
    place = TrainingSandbox(tmp_path, f"{__name__}:Data")
    place.train(leaf(), until=1)

    assert place.epochs().keys() == {1}


@pytest.mark.parametrize("data_cache", [0, 2**20])
def test_rows_that_are_no_mappings_are_told_with_what_to_override(tmp_path, monkeypatch, data_cache):
    monkeypatch.setattr(Data, "split", TENSORS)

    told = cause(tmp_path, "Data", data_cache=data_cache)
    assert told.startswith("row 0 of `train`: TypeError: the row is a tuple of 2, not a mapping of fields; ")
    assert 'override row_prep to return a dict, such as {"x": row[0], "labels": row[1]}' in told


def test_a_row_that_cannot_be_prepared_is_named_the_first_where_all_are_alike(tmp_path):
    every = cause(tmp_path / "every", "Refusing", leaf(user_knobs={"refused": [0, 1, 2]}))
    assert every.startswith("row 0 of `train`: KeyError: 'pixels'")

    some = cause(tmp_path / "some", "Refusing", leaf(user_knobs={"refused": [2]}))
    row = int(some.removeprefix("row ").partition(" ")[0])
    assert row % 3 == 2


@pytest.mark.parametrize("data_cache", [0, 2**20])
def test_the_field_in_which_rows_have_different_shapes_is_named_with_two_of_them(tmp_path, data_cache):
    told = cause(tmp_path, "Sized", data_cache=data_cache)

    assert told.startswith("a batch of `train` cannot be collated: `x` is a Tensor of shape (")
    assert told.count(" in row ") == 2


def test_the_field_that_a_row_lacks_is_named(tmp_path):
    told = cause(tmp_path, "Incomplete")

    assert told.startswith("a batch of `train` cannot be collated: row ")
    assert "has the field `labels`, but row " in told


def test_a_collate_that_raises_is_told_with_its_rows(tmp_path):
    told = cause(tmp_path, "Joining")

    assert told.startswith("a batch of `train` cannot be collated: rows ")
    assert "ValueError: I join nothing" in told
