"""What a killed worker takes with it is bounded: checkpoints fall due by the clock, also while runs wait."""

import shutil

import pytest
import torch

from rapidfire_cli.facts import RunFailed, Saved, TurnEnded
from rapidfire_cli.training.executor import IDLE, SHARE
from tests.training.sandbox import TrainingSandbox, leaf, same
from tests.training.specs import HoardingLater

SGD = {"name": "SGD", "args": {"lr": 0.1}}
EVERY = 1000.0  # seconds on the test's clock, on which each look takes one


def place_with_residents(directory, spec="Restless", runs=(1, 2, 3), until=1):
    place = TrainingSandbox(directory, spec, checkpoint_every=EVERY)
    for run in runs:
        place.train(leaf(), until=until, run=run)
    return place


def saved(place):
    return [(one.run, one.at) for one in place.told if isinstance(one, Saved)]


def pass_time(place, seconds):
    place.executor._clock.now += seconds


def test_nothing_is_due_before_its_time_and_the_pause_ends_when_it_is(tmp_path):
    assert TrainingSandbox(tmp_path).executor.spare(idle=True) is None

    place = place_with_residents(tmp_path)
    pause = place.executor.spare(idle=True)
    assert 0 < pause < EVERY
    assert saved(place) == []

    pass_time(place, pause)
    assert place.executor.spare(idle=True) == 0
    assert saved(place) == [(1, 1)]


def test_an_idle_worker_saves_its_residents_one_by_one_the_longest_unsaved_first(tmp_path):
    place = place_with_residents(tmp_path, runs=(2, 3, 1))
    pass_time(place, EVERY)

    for count in (1, 2, 3):
        assert place.executor.spare(idle=True) == 0
        assert len(saved(place)) == count
    assert place.executor.spare(idle=True) is None
    assert saved(place) == [(2, 1), (3, 1), (1, 1)]


def test_a_busy_worker_spends_a_share_of_its_time_on_runs_that_wait(tmp_path):
    place = place_with_residents(tmp_path)
    pass_time(place, EVERY)

    assert place.executor.spare(idle=False) == 0
    assert place.executor.spare(idle=False) == IDLE
    assert saved(place) == [(1, 1)]

    pass_time(place, 1 / SHARE)  # saving took one second
    assert place.executor.spare(idle=False) == 0
    assert saved(place) == [(1, 1), (2, 1)]


def test_runs_that_wait_are_saved_during_a_long_turn_of_another(tmp_path):
    place = place_with_residents(tmp_path, runs=(1, 2))
    pass_time(place, EVERY)
    place.train(leaf(epochs=20), until=20, run=3)

    assert saved(place)[:2] == [(1, 1), (2, 1)]


def test_time_in_which_a_run_waits_counts_in_its_own_turn_too(tmp_path):
    place = place_with_residents(tmp_path, runs=(1,))
    pass_time(place, EVERY)
    place.train(leaf(), until=2)

    assert saved(place) == [(1, 1)]
    assert place.executor._runs[1].unsaved < EVERY


@pytest.mark.parametrize("spec", ["Blobs", "Restless", "Remembering"])
def test_a_run_that_is_saved_while_it_waits_continues_bit_for_bit_there_and_elsewhere(tmp_path, spec):
    alone = TrainingSandbox(tmp_path / "alone", spec)
    alone.train(leaf(), until=3)

    place = place_with_residents(tmp_path / "saved", spec, runs=(1, 2))
    pass_time(place, EVERY)
    while place.executor.spare(idle=True) == 0:
        pass
    assert saved(place) == [(1, 1), (2, 1)]
    place.train(leaf(), until=3, run=1)
    after_a_kill = TrainingSandbox(tmp_path / "saved", spec)
    assert isinstance(after_a_kill.train(leaf(), until=1, run=2)[-1], TurnEnded)
    after_a_kill.train(leaf(), until=3, run=2)

    assert same(place.weights(1), alone.weights())
    assert same(after_a_kill.weights(2), alone.weights())
    assert place.epochs(1) == alone.epochs()
    told = {**place.epochs(2), **after_a_kill.epochs(2)}  # by both processes, together
    assert told == alone.epochs()


@pytest.mark.parametrize("idle", [True, False])
def test_a_run_that_waits_is_saved_with_its_own_settings(tmp_path, idle):
    alone = TrainingSandbox(tmp_path / "alone", "Switching")
    alone.train(leaf(), until=3)

    place = place_with_residents(tmp_path / "saved", "Switching", runs=(1,))
    pass_time(place, EVERY)
    if idle:
        place.executor.spare(idle)
    else:
        place.train(leaf(epochs=1), until=1, run=2)
    assert saved(place)[0] == (1, 1)
    after_a_kill = TrainingSandbox(tmp_path / "saved", "Switching")
    after_a_kill.train(leaf(), until=3)

    assert same(after_a_kill.weights(), alone.weights())
    assert torch.get_default_dtype() is torch.float32


def test_what_cannot_be_saved_while_it_waits_fails_in_its_own_turn(tmp_path, monkeypatch):
    place = place_with_residents(tmp_path, "HoardingLater", runs=(1,))
    monkeypatch.setattr(HoardingLater, "hoards", True)
    pass_time(place, EVERY)

    assert place.executor.spare(idle=True) == 0
    assert not [one for one in place.told if isinstance(one, RunFailed)]
    assert place.executor.spare(idle=True) > EVERY / 2
    place.train(leaf(), until=3)
    assert "state_dict" in place.failure().cause


def test_a_disk_that_takes_no_checkpoint_is_told_at_once(tmp_path):
    place = place_with_residents(tmp_path, runs=(1,))
    shutil.rmtree(tmp_path / "1")
    (tmp_path / "1").symlink_to("/dev/full")
    pass_time(place, EVERY)

    assert place.executor.spare(idle=True) == 0
    assert place.failure().kind == "disk"


def test_what_is_gone_is_not_saved(tmp_path):
    place = place_with_residents(tmp_path, runs=(1, 2))
    place.evict(1)
    place.train(leaf(), until=3, run=2)
    pass_time(place, EVERY)

    assert place.executor.spare(idle=True) is None
