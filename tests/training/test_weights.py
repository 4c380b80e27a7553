"""A batch counts as much as it weighs: in an optimizer step, and in the loss of an epoch."""

import pytest
import torch

from tests.training.sandbox import TrainingSandbox, leaf, same

SGD = {"name": "SGD", "args": {"lr": 0.5}}


def trained(directory, spec="Words", **knobs):
    place = TrainingSandbox(directory, spec)
    place.train(leaf(SGD, **{"epochs": 2, "named_metrics": (), **knobs}), until=2)
    return place


def apart(one, other):
    return max(float((one.weights()[name] - weight).abs().max()) for name, weight in other.weights().items())


def test_four_batches_of_two_rows_step_as_one_of_eight_whatever_their_lengths(tmp_path):
    whole, parts = trained(tmp_path / "a"), trained(tmp_path / "b", batch_size=2, grad_accumulation=4)

    assert apart(whole, parts) < 1e-6
    assert parts.epochs()[2] == pytest.approx(whole.epochs()[2], rel=1e-6)


def test_the_norm_that_is_clipped_is_that_of_the_whole_step(tmp_path):
    whole = trained(tmp_path / "a", max_grad_norm=0.1)
    parts = trained(tmp_path / "b", max_grad_norm=0.1, batch_size=2, grad_accumulation=4)

    assert apart(whole, parts) < 1e-6


def test_the_loss_of_a_split_does_not_depend_on_how_its_rows_are_batched(tmp_path):
    losses = [
        trained(tmp_path / str(size), eval_batch_size=size).epochs()[2]["validation", "loss"]
        for size in (1, 3, 8)
    ]

    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)


@pytest.mark.parametrize("form", ["tensor", "number", "halved"])
def test_a_batch_can_say_its_weight(tmp_path, form):
    plain = trained(tmp_path / "a", batch_size=2, grad_accumulation=4)
    knobs = {"batch_size": 2, "grad_accumulation": 4, "user_knobs": {"weight": form}}
    weighing = trained(tmp_path / "b", "Weighing", **knobs)

    assert apart(plain, weighing) < 1e-6
    assert weighing.epochs()[2] == pytest.approx(plain.epochs()[2], rel=1e-6)


def test_a_weight_changes_no_bit_where_a_step_has_one_batch(tmp_path):
    weighing = trained(tmp_path / "b", "Weighing", user_knobs={"weight": "halved"})

    assert same(trained(tmp_path / "a").weights(), weighing.weights())


@pytest.mark.parametrize(
    ("form", "cause"),
    [
        ("row", "`weight` has shape (3,); it must be one number, the weight of the whole batch"),
        ("negative", "`weight` is -1.0; it must be finite and not negative"),
        ("nan", "`weight` is nan; it must be finite and not negative"),
        ("text", "`weight` is a str; it must be one number, the weight of the whole batch"),
    ],
)
def test_what_is_not_a_weight_fails_the_run(tmp_path, form, cause):
    assert trained(tmp_path, "Weighing", user_knobs={"weight": form}).failure().cause == cause


def test_a_batch_that_does_not_count_changes_nothing_though_its_loss_is_nan(tmp_path):
    knobs = {"epochs": 2, "user_knobs": {"ignored": 8}, "named_metrics": ["top1_accuracy"]}
    ones = trained(tmp_path / "a", "Unlabelled", batch_size=1, grad_accumulation=37, **knobs)
    whole = trained(tmp_path / "b", "Unlabelled", batch_size=37, **knobs)

    assert apart(ones, whole) < 1e-6
    assert ones.epochs()[2] == pytest.approx(whole.epochs()[2], rel=1e-6)


@pytest.mark.parametrize(
    "optimizer", [SGD, {"name": "Adam", "args": {"weight_decay": 0.1}}, {"name": "LBFGS"}]
)
def test_a_step_in_which_nothing_counts_leaves_the_weights_as_they_are(tmp_path, optimizer):
    place, start = (
        TrainingSandbox(tmp_path / "a", "Unlabelled"),
        TrainingSandbox(tmp_path / "b", "Unlabelled"),
    )
    place.train(leaf(optimizer, user_knobs={"ignored": 37}), until=3)
    start.train(leaf({"name": "SGD", "args": {"lr": 0.0}}, user_knobs={"ignored": 0}), until=3)

    assert place.epochs()[3]["train", "loss"] != place.epochs()[3]["train", "loss"]  # NaN: a mean of nothing
    assert same(place.weights(), start.weights())


def test_weights_continue_in_the_middle_of_an_epoch(tmp_path):
    config = leaf(SGD, epochs=1, batch_size=2, named_metrics=("top1_accuracy", "f1_score"))
    whole = TrainingSandbox(tmp_path / "whole", "Words")
    whole.train(config, until=1)
    stopped = TrainingSandbox(tmp_path / "stopped", "Words")
    stopped.stop_at = 5
    stopped.train(config, until=1)
    continued = TrainingSandbox(tmp_path / "stopped", "Words")
    continued.train(config, until=1)

    assert continued.epochs() == whole.epochs()
    assert same(continued.weights(), whole.weights())


def test_steps_of_equal_rows_are_scaled_as_the_mean_over_rows(tmp_path):
    place = TrainingSandbox(tmp_path, "Plain")
    place.train(leaf(SGD, epochs=1, batch_size=5, grad_accumulation=2), until=1)
    by_hand = _by_hand()

    assert all(torch.equal(weight, by_hand[name]) for name, weight in place.weights().items())


def _by_hand():
    from rapidfire_cli.training import rng
    from tests.training.specs import Plain

    spec = Plain()
    rows = spec.load_data(None, {})["train"]
    rng.reseed(42, "create_model")
    model = spec.create_model({})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for step in rng.order(42, 1, len(rows)).split(10):
        optimizer.zero_grad()
        for part in step.split(5):
            batch = spec.collate([rows[row] for row in part.tolist()], {})
            (spec.compute_forward(model, batch, {})["loss"] * (len(part) / len(step))).backward()
        optimizer.step()
    return model.state_dict()
