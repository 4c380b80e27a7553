"""Rows are prepared once where that cannot be told from preparing them each time."""

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from rapidfire_cli.training.batches import Cached, Stacked, Uncached
from rapidfire_cli.training.equality import equal
from rapidfire_cli.training.footprint import TENSOR
from rapidfire_cli.training.stacking import Stacks, kind
from tests.training import specs
from tests.training.sandbox import TrainingSandbox, leaf, same

EACH_TIME = 0  # bytes of room: nothing can be kept
ROWS = 52
TWICE = 16 + 15  # rows of both splits that are prepared once more, to see whether they come out the same


@pytest.fixture(autouse=True)
def _forget_counts():
    specs.Counted.prepared = 0


def batch_sources(place, run=1):
    """The kinds of feeds a resident run has."""
    return {split: type(feed) for split, feed in place.executor._runs[run].batch_sources.items()}


@pytest.mark.parametrize(
    ("spec", "train", "validation"),
    [
        ("Blobs", Stacked, Stacked),
        ("Augmented", Uncached, Stacked),
        ("AugmentedLast", Uncached, Stacked),
        ("Ragged", Cached, Cached),
        ("Collated", Cached, Cached),
        ("LateTransform", Uncached, Uncached),
        ("OwnGenerator", Uncached, Stacked),
        ("OwnGeneratorForSome", Uncached, Stacked),
        ("ClassGenerator", Uncached, Stacked),
        ("TorchGenerator", Uncached, Stacked),
        ("Scheduled", Uncached, Uncached),
    ],
)
def test_kept_rows_train_to_the_same_bits_as_rows_prepared_each_time(tmp_path, spec, train, validation):
    kept = TrainingSandbox(tmp_path / "kept", spec)
    kept.train(leaf(), until=1)
    assert batch_sources(kept) == {"train": train, "validation": validation}
    kept.train(leaf(), until=3)

    fresh = TrainingSandbox(tmp_path / "fresh", spec, data_cache=EACH_TIME)
    fresh.train(leaf(), until=1)
    assert batch_sources(fresh) == {"train": Uncached, "validation": Uncached}
    fresh.train(leaf(), until=3)

    assert same(kept.weights(), fresh.weights())
    assert kept.epochs() == fresh.epochs()


@pytest.mark.parametrize("spec", ["Blobs", "Ragged", "Collated", "OwnGenerator", "Windows"])
def test_bits_do_not_depend_on_how_many_rows_may_be_kept(tmp_path, spec):
    weights = []
    for room in (EACH_TIME, 15 * 2000, 2**30):  # nothing, at most the validation split, everything
        place = TrainingSandbox(tmp_path / f"{room}", spec, data_cache=room)
        place.train(leaf(), until=3)
        weights.append((place.weights(), place.epochs()))

    for one, epochs in weights[1:]:
        assert same(one, weights[0][0])
        assert epochs == weights[0][1]


def test_rows_are_prepared_once_for_all_runs_that_read_the_same_knobs(tmp_path):
    place = TrainingSandbox(tmp_path, "Counted")

    for run, lr in enumerate((0.1, 0.2, 0.3), start=1):
        place.train(leaf({"name": "SGD", "args": {"lr": lr}}), until=3, run=run)

    assert specs.Counted.prepared == ROWS + TWICE


def test_a_knob_that_was_read_tells_rows_apart(tmp_path):
    place = TrainingSandbox(tmp_path, "Counted")

    for run, scale in enumerate((1.0, 2.0, 2.0), start=1):
        place.train(leaf(user_knobs={"scale": scale}), until=3, run=run)
    place.train(leaf(), until=3, run=4)  # `scale` absent, as no run before had it

    assert specs.Counted.prepared == 3 * (ROWS + TWICE)
    assert not same(place.weights(1), place.weights(2))
    assert same(place.weights(2), place.weights(3))
    assert same(place.weights(1), place.weights(4))


def test_a_seed_tells_rows_apart_only_where_initialize_run_drew_from_it(tmp_path):
    place = TrainingSandbox(tmp_path, "Projected")
    for run, seed in enumerate((1, 2, 1), start=1):
        place.train(leaf(), until=1, run=run, seed=seed)

    one, other, again = (place.executor._runs[run].batch_sources["train"] for run in (1, 2, 3))
    assert one is again
    assert one is not other

    place = TrainingSandbox(tmp_path / "undrawn")
    for run, seed in enumerate((1, 2), start=1):
        place.train(leaf(), until=1, run=run, seed=seed)
    assert place.executor._runs[1].batch_sources["train"] is place.executor._runs[2].batch_sources["train"]


def test_rows_of_runs_that_are_gone_make_room_for_others(tmp_path):
    row = 6 * 4 + 8  # six floats and an int, as they are stacked
    place = TrainingSandbox(tmp_path, "Counted", data_cache=ROWS * row)

    place.train(leaf(user_knobs={"scale": 1.0}), until=1, run=1)
    place.train(leaf(user_knobs={"scale": 2.0}), until=1, run=2)
    assert set(batch_sources(place, 1).values()) == {Stacked}
    assert set(batch_sources(place, 2).values()) == {Uncached}

    place.evict(1)
    place.train(leaf(user_knobs={"scale": 2.0}), until=1, run=3)
    assert set(batch_sources(place, 3).values()) == {Stacked}


def test_rows_that_turn_out_larger_than_the_first_are_not_kept_beyond_the_room(tmp_path):
    row = 2 * TENSOR + 6 * 4 + 28 + 300  # two tensors, six floats, an int, and the dict
    place = TrainingSandbox(tmp_path, "Growing", data_cache=ROWS * row)
    place.train(leaf(), until=1)

    assert batch_sources(place)["train"] is Uncached


@pytest.mark.parametrize(
    "rows",
    [
        [{"x": torch.zeros(2)}, {"x": torch.zeros(3)}],
        [{"x": torch.zeros(2)}, {"x": torch.zeros(2, dtype=torch.float64)}],
        [{"x": 1}, {"x": 1.0}],
        [{"x": 1}, {"x": True}],
        [{"x": 1}, {"x": 1, "y": 1}],
        [{"x": 1, "y": 1}, {"y": 1, "x": 1}],
    ],
)
def test_rows_that_differ_in_kind_are_not_stacked(rows):
    stacks = Stacks(rows[0], len(rows))

    assert stacks.put(0, rows[0])
    assert not stacks.put(1, rows[1])


@pytest.mark.parametrize("row", [{"x": "a"}, {"x": [1, 2]}, {"x": np.array(["a"])}, {}, 1, (1, 2), None])
def test_rows_that_default_collate_joins_in_another_way_are_of_no_kind(row):
    assert kind(row) is None


@pytest.mark.parametrize(
    "values",
    [
        (1, -2),
        (0.1, float("nan")),
        (True, False),
        (np.float32(0.1), np.float32(0.2)),
        (np.int16(1), np.int16(2)),
        (np.array([1, 2], np.uint8), np.array([3, 4], np.uint8)),
        (np.array(1.5), np.array(2.5)),
        (torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])),
        (torch.tensor(1, dtype=torch.bfloat16), torch.tensor(2, dtype=torch.bfloat16)),
        (torch.zeros(0, 3), torch.zeros(0, 3)),
    ],
)
def test_fields_are_stacked_as_default_collate_does(values):
    rows = [{"x": value} for value in values]
    stacks = Stacks(rows[0], len(rows))
    assert all(stacks.put(index, row) for index, row in enumerate(rows))

    assert equal(stacks.fields, default_collate(rows))


@pytest.mark.parametrize(
    ("spec", "split", "reason"),
    [
        ("Augmented", "train", "row_prep draws random numbers"),
        (
            "OwnGenerator",
            "train",
            "row_prep draws random numbers from a generator of its own (self.tools['generator'])",
        ),
        ("Scheduled", "train", "preparing row 34 twice gave different results (in `x`)"),
        ("Scheduled", "validation", "preparing row 14 twice gave different results (in `x`)"),
    ],
)
def test_a_runs_log_says_once_per_split_why_its_rows_are_prepared_anew(tmp_path, spec, split, reason):
    place = TrainingSandbox(tmp_path, spec)
    place.train(leaf(), until=3)

    told = [line for line in place.log().splitlines() if f"`{split}`" in line]
    assert told == [f"rapidfire: rows of `{split}` are prepared again in every epoch: {reason}"]


@pytest.mark.parametrize("spec", ["OwnGenerator", "Scheduled"])
def test_what_rows_draw_for_themselves_does_not_depend_on_the_runs_beside(tmp_path, spec):
    alone = TrainingSandbox(tmp_path / "alone", spec)
    alone.train(leaf(), until=3)

    beside = TrainingSandbox(tmp_path / "beside", spec)
    for epoch in (1, 2, 3):
        beside.train(leaf({"name": "SGD", "args": {"lr": 0.1}}), until=epoch, run=2)
        beside.train(leaf(), until=epoch)

    assert same(beside.weights(), alone.weights())


def test_that_rows_are_drawn_is_found_out_once_for_all_runs_that_read_the_same_knobs(tmp_path):
    place = TrainingSandbox(tmp_path, "CountedAugmented")
    place.train(leaf(), until=1, run=1)
    first = specs.CountedAugmented.prepared

    specs.CountedAugmented.prepared = 0
    place.train(leaf(batch_size=16), until=1, run=2)
    assert (
        specs.CountedAugmented.prepared == ROWS - 15 < first
    )  # the validation split's rows draw and are kept
    assert "draws random numbers" in place.log(2)


def test_that_rows_do_not_fit_is_found_out_once_until_there_is_room(tmp_path):
    row = 6 * 4 + 8  # six floats and an int, as they are stacked
    place = TrainingSandbox(tmp_path, "Counted", data_cache=ROWS * row)
    for run, scale in enumerate((1.0, 2.0), start=1):
        place.train(leaf(user_knobs={"scale": scale}), until=1, run=run)

    specs.Counted.prepared = 0
    place.train(leaf(user_knobs={"scale": 2.0}), until=1, run=3)
    assert specs.Counted.prepared == ROWS
    assert "`data_cache` has 0.0 MiB left" in place.log(3)

    place.evict(1)
    place.train(leaf(user_knobs={"scale": 2.0}), until=1, run=4)
    assert set(batch_sources(place, 4).values()) == {Stacked}
