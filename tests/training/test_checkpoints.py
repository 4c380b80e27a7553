"""Checkpoints hold everything, and only good ones are believed."""

import pytest
import torch

from rapidfire_cli import durable
from rapidfire_cli.engine.messages import RunFailed
from tests.training.workplace import Workplace, leaf, same


def interrupted(directory, spec="Augmented"):
    """A run with two checkpoints, the last in the middle of its second epoch."""
    place = Workplace(directory, spec, checkpoint_every=4)
    place.stop_at = 11
    place.train(leaf(), until=3)
    assert len(place.checkpoints()) == 2
    return place


def damage(checkpoint, name="state.pt"):
    payload = checkpoint / name
    content = bytearray(payload.read_bytes())
    content[len(content) // 2] ^= 1
    payload.write_bytes(content)


def test_a_damaged_checkpoint_that_was_passed_over_takes_no_good_ones_place(tmp_path):
    damaged = interrupted(tmp_path)
    _, last = damaged.checkpoints()
    damage(last)

    continued = Workplace(tmp_path, "Augmented", checkpoint_every=1)
    continued.stop_at = 2
    continued.train(leaf(), until=3)

    assert len(continued.checkpoints()) == 2
    for checkpoint in continued.checkpoints():
        durable.verify(checkpoint)


@pytest.mark.parametrize("name", ["state.pt", "model.safetensors", "MANIFEST.json"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, name):
    whole = Workplace(tmp_path / "whole", "Augmented")
    whole.train(leaf(), until=3)
    damaged = interrupted(tmp_path / "damaged")
    damage(damaged.checkpoints()[-1], name)

    continued = Workplace(tmp_path / "damaged", "Augmented")
    continued.train(leaf(), until=3)

    assert same(continued.weights(), whole.weights())
    assert "a damaged checkpoint is passed over" in continued.log()


def test_a_run_whose_checkpoints_are_all_damaged_fails_rather_than_starting_over(tmp_path):
    for checkpoint in interrupted(tmp_path).checkpoints():
        damage(checkpoint)

    continued = Workplace(tmp_path, "Augmented")
    continued.train(leaf(), until=3)

    cause = f"none of the 2 checkpoints in {tmp_path / '1' / 'checkpoints'} is good"
    assert continued.failure() == RunFailed(1, "checkpoint", cause, step=0)


def test_a_checkpoints_manifest_says_where_it_stands_and_repeats_the_metrics(tmp_path):
    place = Workplace(tmp_path)
    ended, *_ = place.train(leaf(), until=1)
    place.evict()

    facts = durable.verify(place.checkpoints()[-1]).facts
    assert {key: facts[key] for key in ("run", "epoch", "step", "at")} == {
        "run": 1,
        "epoch": 1,
        "step": 5,
        "at": 1,
    }
    (told,) = facts["history"]
    assert told["metrics"] == [[one.split, one.name, one.value] for one in ended.metrics]


def test_metrics_that_are_no_numbers_are_told_again_as_they_were(tmp_path):
    knobs = {"user_knobs": {"does": "nan"}, "on_nan": "continue", "named_metrics": ()}
    first = Workplace(tmp_path, "Misbehaving")
    first.train(leaf(**knobs), until=1)
    first.evict()

    second = Workplace(tmp_path, "Misbehaving")
    second.train(leaf(**knobs), until=1)
    assert {str(value) for value in second.epochs()[1].values()} == {"nan"}


def test_tied_weights_and_buffers_outside_the_models_state_are_kept(tmp_path):
    whole = Workplace(tmp_path / "whole", "Tied")
    whole.train(leaf(), until=3)
    interrupted(tmp_path / "stopped", "Tied")
    continued = Workplace(tmp_path / "stopped", "Tied")
    continued.train(leaf(), until=3)

    assert same(continued.weights(), whole.weights())
    assert continued.epochs() == whole.epochs()


def test_a_disk_that_refuses_fails_the_run_and_says_so(tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "publish", full)
    place = Workplace(tmp_path)
    place.train(leaf(), until=3)

    assert place.failure().kind == "disk"
    assert place.failure().cause.endswith("[Errno 28] No space left on device")


def test_a_run_that_leaves_the_working_directory_keeps_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = Workplace(".", "Wandering")
    place.train(leaf(), until=1)
    place.evict()

    assert [path.parent.parent.parent for path in tmp_path.glob("*/checkpoints/step-*")] == [tmp_path]


def test_a_completed_run_that_is_asked_for_again_gets_its_final_weights_back(tmp_path):
    place = Workplace(tmp_path)
    place.train(leaf(), until=3)
    (tmp_path / "1" / "final.safetensors").unlink()

    again = Workplace(tmp_path)
    again.train(leaf(), until=3)
    assert again.weights()


def test_a_state_is_read_without_running_what_is_in_it(tmp_path):
    checkpoint = interrupted(tmp_path).checkpoints()[-1]

    assert torch.load(checkpoint / "state.pt", weights_only=True)["position"] == (1, 3, 8)
