"""A row's random numbers follow from the seed, the epoch, the split and its index, and from nothing else."""

import importlib
import random
import sys

import numpy as np
import pytest
import torch

from rapidfire_cli.training import rng, user_code
from rapidfire_cli.training.equality import equal
from rapidfire_cli.training.own_generators import Generators, within_reach
from rapidfire_cli.training.row_streams import RowStreams
from tests.training.noisy import SPEC, Everywhere, noise
from tests.training.sandbox import TrainingSandbox, leaf, same

ROWS = torch.arange(6)


def batches(place, rows=ROWS, size=3, epoch=1, first=0, split="train", run=1):
    """Batches of the resident run."""
    return [*place.executor._runs[run].batch_sources[split].batches(rows, size, epoch, first)]


@pytest.fixture
def place(tmp_path):
    place = TrainingSandbox(tmp_path, SPEC)
    place.train(leaf(), until=1)
    return place


def test_generators_are_looked_for_under_the_names_that_a_modules_author_wrote(monkeypatch):
    module = sys.modules[Everywhere.__module__]
    before = within_reach(Everywhere()).states().keys()
    monkeypatch.setattr(module, "__loader__", [random.Random(0)])  # as an import hook's own
    assert within_reach(Everywhere()).states().keys() == before
    monkeypatch.setattr(module, "loader", [random.Random(0)], raising=False)
    assert len(within_reach(Everywhere()).states()) == len(before) + 1


def test_generators_of_a_library_are_found_in_its_modules_and_classes(tmp_path, monkeypatch):
    folder = tmp_path / "shaky"
    folder.mkdir()
    (folder / "__init__.py").write_text("from shaky import inner\nfrom shaky.inner import GENERATOR, Shake\n")
    (folder / "inner.py").write_text(
        "import random, numpy as np\n"
        "GENERATOR = np.random.default_rng()\n"
        "class Shake:\n    generator = random.Random(1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(user_code, "LIBRARIES", (*user_code.LIBRARIES, f"{tmp_path}/"))
    shaky = importlib.import_module("shaky")
    try:
        spec = Everywhere()
        before = within_reach(spec).paths
        spec.shake = shaky.Shake()
        found = within_reach(spec)
        assert {*found.paths} - {*before} == {"shaky['GENERATOR']", "shaky.inner.Shake['generator']"}
        found.reseed(5)
        drawn = shaky.GENERATOR.normal(), shaky.Shake.generator.random()
        within_reach(spec).reseed(5)
        assert (shaky.GENERATOR.normal(), shaky.Shake.generator.random()) == drawn
    finally:
        for name in ("shaky", "shaky.inner"):
            del sys.modules[name]


def test_a_row_is_the_same_whatever_was_prepared_before(place):
    expected = batches(place)
    noise()

    assert equal(batches(place), expected)
    assert equal(batches(place, ROWS[3:], first=1), expected[1:])
    backwards = torch.cat([batch["drawn"] for batch in batches(place, ROWS.flip(0), size=2)]).flip(0)
    assert equal(backwards, torch.cat([batch["drawn"] for batch in expected]))


def test_every_epoch_row_and_batch_draws_its_own_numbers(place):
    first, second = batches(place)
    (again, _) = batches(place, epoch=2)

    assert (
        len({*torch.cat((first["drawn"], second["drawn"], again["drawn"])).flatten().tolist()}) == 3 * 3 * 13
    )
    assert (
        len({*torch.stack([each["joined"] for each in (first, second, again)]).flatten().tolist()}) == 3 * 3
    )


def test_rows_of_the_validation_split_draw_the_same_in_every_epoch(place):
    one = batches(place, split="validation")

    assert equal(batches(place, epoch=2, split="validation"), one)
    assert not equal(one[0]["drawn"], batches(place)[0]["drawn"])


def test_preparing_rows_leaves_the_streams_of_the_model_where_they_are(place):
    spec = place.executor._runs[1].spec
    before, own = rng.capture(), Generators({"self": spec})
    random.gauss(0, 1), np.random.randn()  # each of these keeps a second number for the next call
    before = rng.capture()
    batches(place)

    assert rng.unchanged_since(before)
    assert own.moved() is None


def test_rows_can_be_redone_by_hand():
    RowStreams(42, "train", Generators({})).row(17, epoch=3)
    drawn = noise()
    value = rng.derive(42, "train row 17 epoch 3")
    random.seed(value), np.random.seed(value % 2**32), torch.manual_seed(value)

    assert equal(noise(), drawn)


def test_rows_are_prepared_on_one_thread(place, monkeypatch):
    seen = []
    monkeypatch.setattr(Everywhere, "row_prep", lambda *_: seen.append(torch.get_num_threads()) or {"x": 1})
    monkeypatch.setattr(Everywhere, "collate", lambda *_: seen.append(torch.get_num_threads()) or {"x": 1})
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        batches(place)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert {*seen} == {1}


@pytest.mark.parametrize("room", [0, 2**20])
def test_a_run_that_stops_inside_an_epoch_continues_with_the_rows_that_were_left(tmp_path, room):
    undisturbed = TrainingSandbox(tmp_path / "one", SPEC, data_cache=room)
    undisturbed.train(leaf(), until=3)
    stopped = TrainingSandbox(tmp_path / "two", SPEC, data_cache=0)
    stopped.stop_at = 3
    stopped.train(leaf(), until=3)
    continued = TrainingSandbox(tmp_path / "two", SPEC, data_cache=2**20 - room)
    continued.train(leaf(), until=3)

    assert same(continued.weights(), undisturbed.weights())
    assert continued.epochs() == undisturbed.epochs()
