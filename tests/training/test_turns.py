"""A run's result depends on nothing but its config, seed, code and data."""

import sys

import pytest

from rapidfire_cli.facts import EpochEnded, Evicted, RunFailed, RunOpened, Saved, TurnEnded
from tests.shares import share
from tests.training.sandbox import TrainingSandbox, leaf, same

PACKAGE = "rapidfire_cli/training/"
STEPS = 5  # of an epoch: 37 rows in batches of 8
PULSES = STEPS + 2 + 1  # each epoch: its steps, its validation batches, its end
SPLITS = {
    ("train", "loss"),
    ("train", "top1_accuracy"),
    ("validation", "loss"),
    ("validation", "top1_accuracy"),
}


@pytest.fixture(params=["Blobs", "Restless"])
def spec(request):
    return request.param


@pytest.fixture
def alone(tmp_path, spec):
    """A run trained in one go, with nothing beside it."""
    place = TrainingSandbox(tmp_path / "alone", spec)
    place.train(leaf(), until=3)
    return place


def test_a_run_is_trained_to_its_goal_and_let_go(tmp_path):
    place = TrainingSandbox(tmp_path)

    told = place.train(leaf(), until=3)

    assert [type(report).__name__ for report in told] == [
        "RunOpened",
        *["EpochEnded"] * 3,
        "Saved",
        "TurnEnded",
    ]
    assert told[-2] == Saved(1, at=3, step=3 * STEPS)
    assert (told[-1].at, told[-1].step) == (3, 3 * STEPS)
    assert place.epochs().keys() == {1, 2, 3}
    assert place.epochs()[3].keys() == SPLITS
    assert place.weights()
    assert place.evict() == []


def test_final_weights_are_the_checkpoints_bytes(tmp_path):
    place = TrainingSandbox(tmp_path)
    place.train(leaf(), until=3)

    kept = place.checkpoints()[-1] / "model.safetensors"
    assert kept.samefile(tmp_path / "1" / "final.safetensors")


def test_training_again_what_is_trained_does_nothing(tmp_path):
    place = TrainingSandbox(tmp_path)
    place.train(leaf(), until=2)

    (told,) = place.train(leaf(), until=1)
    assert (type(told), told.at) == (TurnEnded, 2)


def test_beside_others_in_turns_of_an_epoch(alone, tmp_path, spec):
    place = TrainingSandbox(tmp_path / "beside", spec)
    for epoch in (1, 2, 3):
        place.train(leaf({"name": "SGD", "args": {"lr": 0.1}}), until=epoch, run=2)
        place.train(leaf(), until=epoch, run=1)
        place.train(leaf(batch_size=16), until=epoch, run=3, seed=7)

    assert same(place.weights(), alone.weights())
    assert place.epochs() == alone.epochs()
    assert not same(place.weights(), place.weights(3))


def test_cut_into_chunks_beside_another(alone, tmp_path, spec):
    place = TrainingSandbox(tmp_path / "chunks", spec, chunks=4)
    for tick in range(1, 13):
        place.train(leaf(), until=tick)
        place.train(leaf(), until=tick, run=2, seed=7)

    assert same(place.weights(), alone.weights())
    assert place.epochs() == alone.epochs()


def test_a_turn_that_ends_inside_an_epoch_tells_the_loss_so_far(alone, tmp_path, spec):
    place = TrainingSandbox(tmp_path / "chunks", spec, chunks=4)
    ended = [place.train(leaf(), until=tick)[-1].metrics for tick in range(1, 9)]
    losses = [metrics[0].value for metrics in ended if metrics]

    assert [bool(metrics) for metrics in ended] == [True, True, True, False] * 2
    whole = [alone.epochs()[epoch]["train", "loss"] for epoch in (1, 2)]
    assert all(abs(loss - whole[0]) < 0.5 for loss in losses[:3])
    assert len({*losses[:3], whole[0]}) == 4


def test_evicted_after_every_chunk_and_continued_elsewhere(alone, tmp_path, spec):
    for tick in range(1, 13):
        place = TrainingSandbox(tmp_path / "moved", spec, chunks=4)
        place.train(leaf(), until=tick)
        place.evict()

    assert same(place.weights(), alone.weights())
    assert place.epochs() == alone.epochs()


@pytest.mark.parametrize(
    ("seconds_of_an_epoch", "ends"),
    [
        (0.2, [1, 2, 3, 4, 5]),  # each is worth a turn
        (0.06, [2, 5]),  # two are; after four the rest would not be
        (0.03, [5]),
    ],
)
def test_a_short_turn_goes_on_while_it_may(tmp_path, seconds_of_an_epoch, ends):
    place = TrainingSandbox(tmp_path, pace=seconds_of_an_epoch / PULSES)
    turns = [0]
    while turns[-1] < 5:
        turns.append(place.train(leaf(epochs=5), until=turns[-1] + 1, limit=5)[-1].at)

    assert turns[1:] == ends


@pytest.mark.parametrize("pulse", share(range(1, PULSES + 1), 2))
def test_stopped_at_any_pulse_and_continued_from_its_checkpoint(alone, tmp_path, spec, pulse):
    stopped = TrainingSandbox(tmp_path / "stopped", spec)
    stopped.stop_at = pulse
    ended = stopped.train(leaf(), until=3)[-1]
    assert isinstance(ended, TurnEnded)
    assert ended.at == (pulse == PULSES)

    continued = TrainingSandbox(tmp_path / "stopped", spec)
    continued.train(leaf(), until=3)

    assert same(continued.weights(), alone.weights())
    assert continued.epochs() == alone.epochs()


def test_stopped_in_its_validation_and_continued_by_the_same_worker(alone, tmp_path, spec):
    place = TrainingSandbox(tmp_path / "same", spec)
    place.stop_at = STEPS + 1
    place.train(leaf(), until=3)
    place.train(leaf(), until=3)

    assert same(place.weights(), alone.weights())
    assert place.epochs() == alone.epochs()


def test_a_validation_that_is_over_at_once_is_not_interrupted(tmp_path):
    """Of the second epoch, since then it is known how long one takes."""
    ends = {}
    for pace in (1.0, 0.006):
        place = TrainingSandbox(tmp_path / f"{pace}", pace=pace)
        place.stop_at = PULSES + STEPS + 1
        ends[pace] = place.train(leaf(), until=3)[-1].at
    assert ends == {1.0: 1, 0.006: 2}


def test_a_checkpoint_is_due_by_the_clock(alone, tmp_path, spec):
    killed = TrainingSandbox(tmp_path / "killed", spec, checkpoint_every=4)
    killed.break_at = 4
    with pytest.raises(BrokenPipeError):
        killed.train(leaf(), until=3)
    assert [type(report) for report in killed.told] == [RunOpened, Saved, EpochEnded]
    assert killed.told[1].step == 4

    continued = TrainingSandbox(tmp_path / "killed", spec)
    continued.train(leaf(), until=3)
    assert same(continued.weights(), alone.weights())
    assert continued.epochs() == alone.epochs()


def test_an_epochs_seconds_add_up_over_turns_and_workers(alone, tmp_path, spec):
    for pulse in (3, 2, None):
        place = TrainingSandbox(tmp_path / "cut", spec)
        place.stop_at = pulse
        place.train(leaf(), until=3)

    whole = [report.seconds for report in alone.told if isinstance(report, EpochEnded)]
    assert [report.seconds for report in place.told if isinstance(report, EpochEnded)] == whole


def test_finished_epochs_are_told_again_when_a_run_is_continued(alone, tmp_path, spec):
    first = TrainingSandbox(tmp_path / "told", spec)
    first.train(leaf(), until=2)
    assert first.evict() == [Saved(1, at=2, step=2 * STEPS), Evicted(1, at=2)]

    second = TrainingSandbox(tmp_path / "told", spec)
    second.train(leaf(), until=3)
    assert second.epochs() == alone.epochs()


def test_a_run_that_was_durable_is_evicted_without_another_checkpoint(tmp_path):
    place = TrainingSandbox(tmp_path)
    place.stop_at = 1
    place.train(leaf(), until=3)

    assert place.evict() == [Evicted(1, at=0)]


@pytest.mark.parametrize("drawing", ["Projected", "Sized"])
def test_what_ran_before_does_not_matter_to_what_is_drawn_while_opening(tmp_path, drawing):
    data, config = {"rows": 30, "shuffle": True}, leaf(user_knobs={"share": 1.0})
    alone, after = (TrainingSandbox(tmp_path / name, drawing, data=data) for name in ("alone", "after"))
    alone.train(config, until=3)
    after.train(leaf(epochs=1, user_knobs={"share": 0.5}), until=1, run=2, seed=7)
    after.train(config, until=3)

    assert same(after.weights(), alone.weights())


def test_a_run_at_rest_holds_no_gradients(tmp_path):
    place = TrainingSandbox(tmp_path)
    ended = place.train(leaf(), until=1)[-1]

    run = place.executor._runs[1]
    assert all(parameter.grad is None for parameter in run.model.parameters())
    weights = sum(tensor.nbytes for tensor in run.model.state_dict().values())
    assert ended.size > 2 * weights  # Adam keeps two moments


def test_the_seed_decides(alone, tmp_path, spec):
    place = TrainingSandbox(tmp_path / "seed", spec)
    place.train(leaf(), until=3, seed=43)

    assert not same(place.weights(), alone.weights())


def test_a_tick_is_a_chunk_cut_at_an_optimizer_step(tmp_path):
    place = TrainingSandbox(tmp_path, chunks=4)

    steps = [place.train(leaf(), until=tick)[-1].step for tick in range(1, 5)]

    assert steps == [1, 2, 4, 5]  # round(k * 5 / 4)


def test_more_chunks_than_steps(tmp_path):
    place = TrainingSandbox(tmp_path, chunks=7)

    steps = [place.train(leaf(epochs=1, batch_size=19), until=tick)[-1].step for tick in range(1, 8)]

    assert steps == [0, 1, 1, 1, 1, 2, 2]
    assert not [report for report in place.told if isinstance(report, RunFailed)]


def test_a_turn_and_a_look_for_spare_work_do_not_go_through_all_residents(tmp_path):
    """A worker may hold tens of thousands of runs. Our lines are counted, with each round of a loop."""
    place, counts, number = TrainingSandbox(tmp_path), [], 0
    for residents in (8, 108):
        while number < residents:
            number += 1
            place.train(leaf(), until=1, run=number)
        number += 1
        counts.append(
            lines(lambda run=number: (place.train(leaf(), until=1, run=run), place.executor.spare(True)))
        )
    assert counts[1] - counts[0] < 100 / 2


def test_a_step_takes_few_lines_of_ours(tmp_path):
    """What is done at each step adds up: a small model's step takes as long as a thousand lines."""
    place, counts = TrainingSandbox(tmp_path, "Plain", pace=1e-6), []
    for run, size in enumerate((8, 5, 8, 5)):  # the first two prepare the rows
        config = leaf(batch_size=size)
        counts.append(lines(lambda run=run, config=config: place.train(config, until=3, run=run)))

    further = 3 * (3 + 1)  # steps, and batches of validation
    assert (counts[3] - counts[2]) / further < 200


def lines(call):
    """The lines of the package that run in the call."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        count += event == "line"
        return trace if PACKAGE in frame.f_code.co_filename else None

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)
    return count
