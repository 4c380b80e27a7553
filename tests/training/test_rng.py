"""Random streams: derived from the seed, swapped whole."""

import random

import numpy as np
import torch

from rapidfire_cli.training import rng


def draw():
    return (
        random.random(),
        float(np.random.rand()),
        torch.rand(()).item(),
        random.gauss(0, 1),
        torch.randn(3).tolist(),
    )


def test_seeds_are_derived_by_a_hash_that_stays():
    assert rng.derive(42, "training") == 1704752007773179383
    assert rng.derive(42, "create_model") != rng.derive(43, "create_model")


def test_reseeding_starts_every_stream_anew():
    rng.reseed(1, "training")
    first = draw()
    rng.reseed(1, "training")
    assert draw() == first
    rng.reseed(1, "create_model")
    assert draw() != first


def test_streams_continue_where_they_were_captured_even_packed():
    rng.reseed(1, "training")
    draw()
    streams = rng.capture()
    following = draw()

    rng.restore(streams)
    assert draw() == following
    rng.restore(rng.unpack(rng.pack(streams, seed=1), seed=1))
    assert draw() == following


def test_where_the_streams_of_a_seed_begin_is_known_without_touching_them():
    rng.reseed(1, "training")
    expected = draw()
    before = rng.capture()
    first = rng.first(1)
    assert rng.unchanged_since(before)
    rng.restore(first)
    assert draw() == expected


def test_a_stream_that_was_not_drawn_from_takes_no_room_in_a_checkpoint():
    first = rng.first(1)
    rng.restore(first)
    assert rng.pack(rng.capture(), seed=1) == dict.fromkeys(("python", "numpy", "torch", "cuda"))
    for name, one in {
        "python": random.random,
        "numpy": np.random.rand,
        "torch": lambda: torch.rand(()),
    }.items():
        rng.restore(first)
        one()
        drawn = rng.capture()
        packed = rng.pack(drawn, seed=1)
        assert [each for each, kept in packed.items() if kept is not None] == [name]
        rng.restore(rng.unpack(packed, seed=1))
        assert rng.unchanged_since(drawn)


def test_streams_of_64_bit_words_are_those_of_32_bit_words():
    draw()
    streams = rng.capture()
    packed = rng.pack(streams, seed=1)
    (version, words, gauss), (algorithm, places, *rest) = packed["python"], packed["numpy"]
    wide = {"python": (version, wider(words), gauss), "numpy": (algorithm, wider(places), *rest)}
    rng.restore(rng.unpack({**packed, **wide}, seed=1))
    assert rng.unchanged_since(streams)


def wider(words):
    """The same unsigned numbers, as format 2 of checkpoints has them."""
    return torch.from_numpy(words.numpy().view(np.uint32).astype(np.int64))


def test_a_draw_from_any_stream_is_noticed():
    rng.reseed(1, "training")
    before = rng.capture()
    assert rng.unchanged_since(before)
    for one in (random.random, np.random.rand, lambda: torch.rand(())):
        rng.restore(before)
        one()
        assert not rng.unchanged_since(before)


def test_every_epoch_has_an_order_of_its_own_whatever_was_drawn():
    first = rng.order(42, 1, 100).tolist()
    torch.rand(3)

    assert rng.order(42, 1, 100).tolist() == first
    assert rng.order(42, 2, 100).tolist() != first
    assert sorted(first) == list(range(100))
