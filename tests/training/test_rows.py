"""Rows are prepared once where that cannot be told from preparing them each time."""

import pytest
import torch

from rapidfire_cli.training.feeds import Fresh, Kept, Stacked
from rapidfire_cli.training.stacking import stacked
from tests.training import specs
from tests.training.workplace import Workplace, leaf, same

EACH_TIME = 0  # bytes of room: nothing can be kept
ROWS = 52


@pytest.fixture(autouse=True)
def _forget_counts():
    specs.Counted.prepared = 0


def feeds(place, run=1):
    """The kinds of feeds a resident run has."""
    return {split: type(feed) for split, feed in place.residents._runs[run].feeds.items()}


@pytest.mark.parametrize(
    ("spec", "train", "validation"),
    [
        ("Blobs", Stacked, Stacked),
        ("Augmented", Fresh, Stacked),
        ("AugmentedLast", Fresh, Fresh),
        ("Ragged", Kept, Kept),
        ("Collated", Kept, Kept),
        ("LateTransform", Fresh, Fresh),
    ],
)
def test_kept_rows_train_to_the_same_bits_as_rows_prepared_each_time(tmp_path, spec, train, validation):
    kept = Workplace(tmp_path / "kept", spec)
    kept.train(leaf(), until=1)
    assert feeds(kept) == {"train": train, "validation": validation}
    kept.train(leaf(), until=3)

    fresh = Workplace(tmp_path / "fresh", spec, data_cache=EACH_TIME)
    fresh.train(leaf(), until=1)
    assert feeds(fresh) == {"train": Fresh, "validation": Fresh}
    fresh.train(leaf(), until=3)

    assert same(kept.weights(), fresh.weights())
    assert kept.epochs() == fresh.epochs()


def test_rows_are_prepared_once_for_all_runs_that_read_the_same_knobs(tmp_path):
    place = Workplace(tmp_path, "Counted")

    for run, lr in enumerate((0.1, 0.2, 0.3), start=1):
        place.train(leaf({"name": "SGD", "args": {"lr": lr}}), until=3, run=run)

    assert specs.Counted.prepared == ROWS


def test_a_knob_that_was_read_tells_rows_apart(tmp_path):
    place = Workplace(tmp_path, "Counted")

    for run, scale in enumerate((1.0, 2.0, 2.0), start=1):
        place.train(leaf(user_knobs={"scale": scale}), until=3, run=run)
    place.train(leaf(), until=3, run=4)  # `scale` absent, as no run before had it

    assert specs.Counted.prepared == 3 * ROWS
    assert not same(place.weights(1), place.weights(2))
    assert same(place.weights(2), place.weights(3))
    assert same(place.weights(1), place.weights(4))


def test_a_seed_tells_rows_apart_only_where_initialize_run_drew_from_it(tmp_path):
    place = Workplace(tmp_path, "Projected")
    for run, seed in enumerate((1, 2, 1), start=1):
        place.train(leaf(), until=1, run=run, seed=seed)

    one, other, again = (place.residents._runs[run].feeds["train"] for run in (1, 2, 3))
    assert one is again
    assert one is not other

    place = Workplace(tmp_path / "undrawn")
    for run, seed in enumerate((1, 2), start=1):
        place.train(leaf(), until=1, run=run, seed=seed)
    assert place.residents._runs[1].feeds["train"] is place.residents._runs[2].feeds["train"]


def test_rows_of_runs_that_are_gone_make_room_for_others(tmp_path):
    row = 6 * 4 + 28  # six floats and an int, as they are weighed
    place = Workplace(tmp_path, "Counted", data_cache=ROWS * row)

    place.train(leaf(user_knobs={"scale": 1.0}), until=1, run=1)
    place.train(leaf(user_knobs={"scale": 2.0}), until=1, run=2)
    assert set(feeds(place, 1).values()) == {Stacked}
    assert set(feeds(place, 2).values()) == {Fresh}

    place.evict(1)
    place.train(leaf(user_knobs={"scale": 2.0}), until=1, run=3)
    assert set(feeds(place, 3).values()) == {Stacked}


def test_rows_that_turn_out_larger_than_the_first_are_not_kept_beyond_the_room(tmp_path):
    row = 6 * 4 + 28 + 4  # six floats, an int, and the first row's padding
    place = Workplace(tmp_path, "Growing", data_cache=ROWS * row)
    place.train(leaf(), until=1)

    assert feeds(place)["train"] is Fresh


@pytest.mark.parametrize(
    "rows",
    [
        [{"x": torch.zeros(2)}, {"x": torch.zeros(3)}],
        [{"x": torch.zeros(2)}, {"x": torch.zeros(2, dtype=torch.float64)}],
        [{"x": 1}, {"x": 1.0}],
        [{"x": 1}, {"x": True}],
        [{"x": 1}, {"x": 1, "y": 1}],
        [{"x": 1, "y": 1}, {"y": 1, "x": 1}],
        [{"x": "a"}, {"x": "b"}],
        [{"x": [1, 2]}, {"x": [3, 4]}],
        [{}, {}],
        [1, 2],
    ],
)
def test_rows_that_differ_in_kind_are_not_stacked(rows):
    assert stacked(tuple(rows)) is None


def test_numbers_are_stacked_as_default_collate_does():
    fields = stacked(({"x": 1, "y": 0.5, "z": True}, {"x": 2, "y": 1.5, "z": False}))

    assert fields["x"].dtype is torch.int64
    assert fields["y"].dtype is torch.float64
    assert fields["z"].dtype is torch.bool
