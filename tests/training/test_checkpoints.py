"""Checkpoints hold everything, and only good ones are believed."""

from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from rapidfire_cli.durable import publication
from rapidfire_cli.engine import epoch_log
from rapidfire_cli.engine.checkpoints import FORMER, epochs_of, from_facts
from rapidfire_cli.facts import RunFailed
from rapidfire_cli.terms import Objective
from tests.shares import share
from tests.training.sandbox import TrainingSandbox, leaf, same


def interrupted(directory, spec="Augmented"):
    """A run with two checkpoints, the last in the middle of its second epoch."""
    place = TrainingSandbox(directory, spec, checkpoint_every=4)
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

    continued = TrainingSandbox(tmp_path, "Augmented", checkpoint_every=1)
    continued.stop_at = 2
    continued.train(leaf(), until=3)

    assert len(continued.checkpoints()) == 2
    for checkpoint in continued.checkpoints():
        publication.verify(checkpoint)


@pytest.mark.parametrize("name", ["state.pt", "model.safetensors", "MANIFEST.json"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, name):
    whole = TrainingSandbox(tmp_path / "whole", "Augmented")
    whole.train(leaf(), until=3)
    damaged = interrupted(tmp_path / "damaged")
    damage(damaged.checkpoints()[-1], name)

    continued = TrainingSandbox(tmp_path / "damaged", "Augmented")
    continued.train(leaf(), until=3)

    assert same(continued.weights(), whole.weights())
    assert "skipped a damaged checkpoint" in continued.log()


def test_a_checkpoint_is_found_where_format_2_put_it(tmp_path):
    whole = TrainingSandbox(tmp_path / "whole", "Augmented")
    whole.train(leaf(), until=3)
    former = interrupted(tmp_path / "former")
    for checkpoint in former.checkpoints():
        target = checkpoint.parent / FORMER / checkpoint.name
        files = [path.name for path in checkpoint.iterdir() if path.name != publication.MANIFEST]
        payload = {name: partial(publication.share, checkpoint / name) for name in files}
        publication.publish(target, payload, {**publication.claimed(checkpoint).facts, "format": 2})
        publication.remove(checkpoint)

    continued = TrainingSandbox(tmp_path / "former", "Augmented")
    continued.train(leaf(), until=3)

    assert same(continued.weights(), whole.weights())
    assert continued.steps[0] > 1
    assert not [*(tmp_path / "former" / "1" / FORMER).iterdir()]


def test_a_run_whose_checkpoints_are_all_damaged_fails_rather_than_starting_over(tmp_path):
    checkpoints = interrupted(tmp_path).checkpoints()
    for checkpoint in checkpoints:
        damage(checkpoint)

    continued = TrainingSandbox(tmp_path, "Augmented")
    continued.train(leaf(), until=3)

    each = "; ".join(f"{path.name}: state.pt has a wrong checksum" for path in reversed(checkpoints))
    cause = f"no usable checkpoint in {tmp_path / '1'}: all are damaged ({each})"
    assert continued.failure() == RunFailed(1, "checkpoint", cause, step=0)


def test_a_checkpoints_manifest_says_where_it_stands_and_repeats_the_metrics(tmp_path):
    place = TrainingSandbox(tmp_path)
    _, ended, *_ = place.train(leaf(), until=1)
    place.evict()

    facts = publication.verify(place.checkpoints()[-1]).facts
    assert {key: facts[key] for key in ("run", "epoch", "step", "at")} == {
        "run": 1,
        "epoch": 1,
        "step": 5,
        "at": 1,
    }
    (told,) = facts["history"]
    assert told["metrics"] == [[one.split, one.name, one.value] for one in ended.metrics]


def test_a_checkpoint_repeats_only_the_epochs_that_are_not_logged(tmp_path, monkeypatch):
    monkeypatch.setattr(epoch_log, "TOGETHER", 2)
    whole = TrainingSandbox(tmp_path / "whole", checkpoint_every=1)
    whole.train(leaf(epochs=7), until=7)

    for until in (3, 5, 7):  # each time in another process, so to speak
        place = TrainingSandbox(tmp_path / "parts", checkpoint_every=1)
        place.train(leaf(epochs=7), until=until)
        place.evict()

    reached = from_facts(publication.verify(place.checkpoints()[-1]).facts)
    assert (reached.logged.epochs, [one.epoch for one in reached.history]) == (6, [7])
    assert [one.epoch for one in epochs_of(tmp_path / "parts" / "1", reached)] == [1, 2, 3, 4, 5, 6, 7]
    assert place.epochs() == whole.epochs()


@pytest.mark.parametrize("content", [None, b"damaged"])
def test_a_run_continues_without_the_epochs_that_were_logged(tmp_path, monkeypatch, content):
    monkeypatch.setattr(epoch_log, "TOGETHER", 2)
    whole = TrainingSandbox(tmp_path / "whole")
    whole.train(leaf(), until=3)
    first = TrainingSandbox(tmp_path / "parts", checkpoint_every=1)
    first.train(leaf(), until=2)
    first.evict()
    log = tmp_path / "parts" / "1" / epoch_log.NAME
    log.write_bytes(content) if content else log.unlink()

    place = TrainingSandbox(tmp_path / "parts")
    place.train(leaf(), until=3)

    assert same(place.weights(), whole.weights())
    assert [*place.epochs()] == [3]


def test_metrics_that_are_no_numbers_are_told_again_as_they_were(tmp_path):
    knobs = {"user_knobs": {"does": "nan"}, "on_nan": "continue", "named_metrics": ()}
    first = TrainingSandbox(tmp_path, "Misbehaving")
    first.train(leaf(**knobs), until=1)
    first.evict()

    second = TrainingSandbox(tmp_path, "Misbehaving")
    second.train(leaf(**knobs), until=1)
    assert {str(value) for value in second.epochs()[1].values()} == {"nan"}


def test_tied_weights_and_buffers_outside_the_models_state_are_kept(tmp_path):
    whole = TrainingSandbox(tmp_path / "whole", "Tied")
    whole.train(leaf(), until=3)
    interrupted(tmp_path / "stopped", "Tied")
    continued = TrainingSandbox(tmp_path / "stopped", "Tied")
    continued.train(leaf(), until=3)

    assert same(continued.weights(), whole.weights())
    assert continued.epochs() == whole.epochs()


@pytest.mark.parametrize("stop_at", share(range(1, 18), 3))
def test_what_an_mlspec_says_of_itself_is_kept_wherever_it_is_stopped(tmp_path, stop_at):
    """Within an epoch, at its end, and within a validation, which begins anew."""
    whole = TrainingSandbox(tmp_path / "whole", "Remembering")
    whole.train(leaf(), until=3)
    stopped = TrainingSandbox(tmp_path / "stopped", "Remembering")
    stopped.stop_at = stop_at
    stopped.train(leaf(), until=3)
    continued = TrainingSandbox(tmp_path / "stopped", "Remembering")
    continued.train(leaf(), until=3)

    assert same(continued.weights(), whole.weights())
    assert continued.epochs() == whole.epochs()


def test_a_stop_within_a_validation_leaves_an_mlspec_as_before_it_in_the_same_process(tmp_path):
    whole = TrainingSandbox(tmp_path / "whole", "Remembering")
    whole.train(leaf(), until=3)
    stopped = TrainingSandbox(tmp_path / "stopped", "Remembering")
    stopped.stop_at = 6  # the first batch of the first validation
    stopped.train(leaf(), until=3)
    stopped.train(leaf(), until=3)

    assert same(stopped.weights(), whole.weights()) and stopped.epochs() == whole.epochs()


def test_a_run_keeps_its_last_two_checkpoints_while_it_trains_and_its_last_one_afterwards(tmp_path):
    place = TrainingSandbox(tmp_path, checkpoint_every=1)
    place.train(leaf(epochs=4), until=3)
    assert [path.name for path in place.checkpoints()] == [
        "step-0000000014-epoch-000002",
        "step-0000000015-epoch-000002",
    ]

    place.train(leaf(epochs=4), until=4)
    assert [path.name for path in place.checkpoints()] == ["step-0000000020-epoch-000004"]


def test_a_completed_run_can_keep_its_weights_alone(tmp_path):
    place = TrainingSandbox(tmp_path, keep="weights")
    place.train(leaf(), until=3)

    (last,) = place.checkpoints()
    assert {path.name for path in last.iterdir()} == {"model.safetensors", "MANIFEST.json"}
    assert publication.verify(last).facts["epoch"] == 3
    assert (last / "model.safetensors").samefile(tmp_path / "1" / "final.safetensors")


FIRST_IS_BEST = Objective("train.loss", "max")


def epoch_weights(tmp_path, epochs):
    place = TrainingSandbox(tmp_path / f"after-{epochs}")
    place.train(leaf(epochs=epochs), until=epochs)
    return place.weights()


@pytest.mark.parametrize("checkpoint_every", [1, 1e9])
def test_the_weights_of_the_best_epoch_are_kept_beside_the_final_ones(tmp_path, checkpoint_every):
    place = TrainingSandbox(tmp_path / "runs", checkpoint_every=checkpoint_every, objective=FIRST_IS_BEST)
    place.train(leaf(epochs=4), until=4)

    assert same(load_file(tmp_path / "runs/1/best.safetensors"), epoch_weights(tmp_path, 1))
    assert not same(place.weights(), epoch_weights(tmp_path, 1))


def test_the_best_weights_outlive_the_process_that_trained_them(tmp_path):
    first = TrainingSandbox(tmp_path / "runs", objective=FIRST_IS_BEST)
    first.train(leaf(epochs=4), until=2)
    first.evict()  # as a run that is pruned leaves
    assert same(load_file(tmp_path / "runs/1/best.safetensors"), epoch_weights(tmp_path, 1))

    second = TrainingSandbox(tmp_path / "runs", objective=FIRST_IS_BEST)
    second.train(leaf(epochs=4), until=4)
    assert same(load_file(tmp_path / "runs/1/best.safetensors"), epoch_weights(tmp_path, 1))


def test_a_better_epoch_replaces_the_best_weights(tmp_path):
    place = TrainingSandbox(tmp_path / "runs", objective=Objective("train.loss", "min"))
    place.train(leaf(epochs=4), until=2)
    place.evict()
    place.train(leaf(epochs=4), until=4)

    losses = {epoch: metrics["train", "loss"] for epoch, metrics in place.epochs().items()}
    best = min(losses, key=losses.__getitem__)
    assert best > 2
    assert same(load_file(tmp_path / "runs/1/best.safetensors"), epoch_weights(tmp_path, best))


def test_an_objective_that_is_never_measured_has_no_best_weights(tmp_path):
    place = TrainingSandbox(tmp_path, objective=Objective("nothing", "min"))
    place.train(leaf(), until=3)

    assert not (tmp_path / "1" / "best.safetensors").exists()


def test_a_run_that_leaves_the_working_directory_keeps_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = TrainingSandbox(".", "Wandering")
    place.train(leaf(), until=1)
    place.evict()

    assert [path.parent.parent for path in tmp_path.glob("*/step-*")] == [tmp_path]


def test_a_completed_run_that_is_asked_for_again_gets_its_final_weights_back(tmp_path):
    place = TrainingSandbox(tmp_path)
    place.train(leaf(), until=3)
    (tmp_path / "1" / "final.safetensors").unlink()

    again = TrainingSandbox(tmp_path)
    again.train(leaf(), until=3)
    assert again.weights()


def test_a_state_is_read_without_running_what_is_in_it(tmp_path):
    checkpoint = interrupted(tmp_path).checkpoints()[-1]

    assert torch.load(checkpoint / "state.pt", weights_only=True)["position"] == (1, 3, 8)
