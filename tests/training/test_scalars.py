"""Numbers beside the loss are metrics: their weighted means over an epoch, however it is cut."""

import pytest
import torch

from rapidfire_cli.terms import TRAIN, VALIDATION
from rapidfire_cli.training.returned import returned_names
from rapidfire_cli.training.scalars import Scalars, found
from tests.training import scalar_specs, specs
from tests.training.sandbox import TrainingSandbox, leaf, same

SPECS = "tests.training.scalar_specs:"


def trained(directory, spec, until=3, **knobs):
    place = TrainingSandbox(directory, f"{SPECS}{spec}")
    place.train(leaf(**knobs), until=until)
    return place


def test_numbers_are_weighted_means_over_the_epoch_in_both_splits(tmp_path):
    values = trained(tmp_path, "Parts").epochs()[3]

    assert values.keys() == {
        (split, name)
        for split in (TRAIN, VALIDATION)
        for name in ("loss", "top1_accuracy", "kl", "rows", "count", "rare")
    }
    batches = [8, 8, 8, 8, 5], [8, 7]  # 37 and 15 rows
    for split, sizes in zip((TRAIN, VALIDATION), batches, strict=True):
        mean = sum(size * 3.0 * size for size in sizes) / sum(3.0 * size for size in sizes)
        assert values[split, "rows"] == values[split, "count"] == mean
        assert values[split, "rare"] == 1.5


def test_a_number_is_weighted_exactly_as_the_loss_at_every_stride():
    generator = torch.Generator().manual_seed(0)
    losses = [(torch.rand((), generator=generator), weight) for weight in (3, 0, 2.5, 1, 7)]
    exact = sum(loss.double() * weight for loss, weight in losses) / sum(weight for _, weight in losses)
    for stride in (1, 2, 32):
        kept = Scalars(stride, ())
        for step, (loss, weight) in enumerate(losses):
            kept.add(found({"loss": loss, "kl": loss}), weight, step)
        assert kept.values() == {"kl": pytest.approx(exact.item(), rel=1e-15)}
        again = Scalars(stride, ())
        again.restore(kept.state())
        assert again.values() == kept.values()


def test_they_have_the_same_bits_however_often_the_run_is_stopped(tmp_path):
    whole = trained(tmp_path / "whole", "Parts")
    for tick in range(1, 13):
        moved = TrainingSandbox(tmp_path / "moved", f"{SPECS}Parts", chunks=4)
        moved.train(leaf(), until=tick)
        moved.evict()

    assert moved.epochs() == whole.epochs()
    assert same(moved.weights(), whole.weights())


def test_a_name_that_another_metric_has_is_refused(tmp_path):
    failure = trained(tmp_path, "Colliding").failure()

    assert (failure.kind, failure.step) == ("error", 0)
    told = "compute_forward returned a number `top1_accuracy`, which the run already has as a metric"
    assert failure.cause.startswith(told)
    assert trained(tmp_path / "b", "Colliding", named_metrics=()).epochs()[3][TRAIN, "top1_accuracy"] == 0.5


def test_fields_of_transformers_outputs_are_no_metrics(tmp_path):
    assert trained(tmp_path, "Fields").epochs()[3].keys() == {
        (split, name) for split in (TRAIN, VALIDATION) for name in ("loss", "top1_accuracy")
    }


def test_plateau_can_watch_a_number(tmp_path):
    plateau = {"name": "ReduceLROnPlateau", "args": {"mode": "min", "patience": 0, "threshold": 1e9}}
    place = trained(tmp_path, "Parts", lr_scheduler={**plateau, "monitor": "train.kl"})
    assert place.epochs().keys() == {1, 2, 3}

    failure = trained(tmp_path / "b", "Colliding", lr_scheduler={**plateau, "monitor": "kl"}).failure()
    assert "lr_scheduler.monitor is `kl`, but the metrics are train.loss, " in failure.cause


def test_the_source_says_which_numbers_may_be_returned():
    assert returned_names(specs.Blobs) == returned_names(specs.Plain) == ()
    assert returned_names(scalar_specs.Colliding) == ("top1_accuracy",)
    assert returned_names(scalar_specs.Parts) == ("kl", "rows", "count", "features", "note", "flag", "rare")
    assert returned_names(scalar_specs.Fields) is None


def test_metrics_see_what_metric_inputs_returns(tmp_path):
    usual, other = TrainingSandbox(tmp_path / "a"), trained(tmp_path / "b", "TwoHeads")
    usual.train(leaf(), until=3)

    assert same(usual.weights(), other.weights())
    one, two = usual.epochs()[1], other.epochs()[1]
    assert one[TRAIN, "loss"] == two[TRAIN, "loss"]
    assert one[TRAIN, "top1_accuracy"] != two[TRAIN, "top1_accuracy"]


@pytest.mark.parametrize(
    ("form", "returned"),
    [
        ("none", "None"),
        ("one", r"a Tensor of shape \(8, 3\)"),
        ("mixed", r"a tuple of 2 \(a Tensor of shape \(8, 3\), a str\)"),
    ],
)
def test_metric_inputs_must_return_logits_and_labels(tmp_path, form, returned):
    failure = trained(tmp_path, "TwoHeads", user_knobs={"form": form}).failure()
    with pytest.raises(AssertionError, match=returned):
        raise AssertionError(failure.cause)
    assert "metric_inputs must return two tensors, (logits, labels); it returned" in failure.cause
