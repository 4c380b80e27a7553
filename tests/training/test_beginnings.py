"""A run that differs from another one in `epochs` alone begins with its epochs, bit for bit."""

import pytest

from rapidfire_cli.durable import publication
from rapidfire_cli.engine.checkpoints import ORIGIN, Began, from_facts
from rapidfire_cli.facts import EpochEnded
from rapidfire_cli.terms import Objective
from tests.training.sandbox import TrainingSandbox, leaf, same

STEPPED = {"name": "StepLR", "args": {"step_size": 3, "gamma": 0.5}}


def begun(place, epochs, run=2, **train):
    """Train the run to its end, beginning with the checkpoint of run 1; what was told."""
    publication.twin(place.checkpoints()[-1], place.directory / f"{run}" / ORIGIN)
    return place.train(leaf(epochs=epochs, **train), until=epochs, run=run)


def began(place, run=2):
    return from_facts(publication.claimed(place.checkpoints(run)[-1]).facts).began


@pytest.mark.parametrize("spec", ["Blobs", "Remembering", "Augmented"])
def test_it_ends_with_the_bits_of_training_from_scratch(tmp_path, spec):
    place = TrainingSandbox(tmp_path, spec, objective=Objective("loss", "min"))
    place.train(leaf(epochs=2, lr_scheduler=STEPPED), until=2)
    half = len(place.steps)
    told = begun(place, epochs=4, lr_scheduler=STEPPED)
    assert len(place.steps) == 2 * half
    place.train(leaf(epochs=4, lr_scheduler=STEPPED), until=4, run=3)
    assert len(place.steps) == 4 * half
    assert same(place.weights(2), place.weights(3))
    assert place.epochs(2) == place.epochs(3)
    assert [each.run for each in told if isinstance(each, EpochEnded)] == [2] * 4
    assert began(place) == Began(1, 2) and began(place, 3) is None
    assert not (tmp_path / "2" / ORIGIN).exists()


def test_a_shorter_run_is_completed_without_training(tmp_path):
    place = TrainingSandbox(tmp_path)
    place.train(leaf(epochs=4), until=2)
    place.evict()
    trained = len(place.steps)
    begun(place, epochs=2)
    assert len(place.steps) == trained and began(place) == Began(1, 2)
    place.train(leaf(epochs=2), until=2, run=3)
    assert same(place.weights(2), place.weights(3))


@pytest.mark.parametrize(
    ("spec", "data", "cause"),
    [("CountingEpochs", None, "reads `train.epochs`"), ("SomeBlobs", {"rows": 8}, "data")],
)
def test_it_trains_from_scratch_where_that_could_give_other_bits(tmp_path, spec, data, cause):
    place = TrainingSandbox(tmp_path, spec)
    place.train(leaf(epochs=2), until=2)
    place = TrainingSandbox(tmp_path, spec, data=data)
    begun(place, epochs=3)
    assert began(place) is None
    assert "trains from scratch" in place.log(2) and cause in place.log(2)


def test_a_damaged_beginning_costs_only_time(tmp_path):
    place = TrainingSandbox(tmp_path)
    place.train(leaf(epochs=2), until=2)
    publication.twin(place.checkpoints()[-1], tmp_path / "2" / ORIGIN)
    state = tmp_path / "2" / ORIGIN / "state.pt"
    state.unlink()
    place.train(leaf(epochs=3), until=3, run=2)
    assert place.damage(2) and began(place) is None
