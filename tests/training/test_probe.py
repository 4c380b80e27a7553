"""What is wrong with a leaf config, or with the MLSpec, is told before anything is trained."""

import json

import pytest

from rapidfire_cli.engine.messages import Probe
from rapidfire_cli.training.executor import SpecProblem
from tests.training.sandbox import SPECS, TrainingSandbox, leaf


def probed(tmp_path, *leaves, spec="Blobs"):
    executor = TrainingSandbox(tmp_path, spec).executor
    return executor.probe(Probe(tuple(map(json.dumps, leaves)))).findings


def codes(findings):
    return [(finding.leaf, ".".join(finding.path), finding.code) for finding in findings]


def test_good_configs_have_no_findings(tmp_path):
    plateau = {"name": "ReduceLROnPlateau", "monitor": "top1_accuracy"}
    assert (
        probed(tmp_path, leaf(), leaf(lr_scheduler=plateau, named_metrics=["top1_accuracy", "auroc"])) == ()
    )


def test_each_leaf_is_told_of_by_its_index(tmp_path):
    wrong = {"name": "Adam", "args": {"lr": 1e-4, "momentum": 0.9}}

    assert codes(probed(tmp_path, leaf(), leaf(wrong), leaf(lr_scheduler={"name": "StepLR"}))) == [
        (1, "train.optimizer.args.momentum", "E402"),
        (2, "train.lr_scheduler.args", "E403"),
    ]


def test_what_each_leaf_will_measure_is_told(tmp_path):
    def measured(spec):
        return TrainingSandbox(tmp_path, spec).executor.probe(Probe((json.dumps(leaf()),))).measured

    assert measured("Blobs") == (("loss", "top1_accuracy"),)
    assert measured("WithMetrics") == (("loss", "top1_accuracy", "margin"),)
    assert measured("WrongMetrics") == ((),)


def test_unknown_metrics_get_the_nearest(tmp_path):
    (finding,) = probed(tmp_path, leaf(named_metrics=["f1_scor"]))

    assert (finding.code, finding.hint) == ("E420", "did you mean `f1_score`?")


def test_what_does_not_go_together_is_told(tmp_path):
    lbfgs = {"name": "LBFGS"}
    assert codes(
        probed(
            tmp_path, leaf(precision="fp16"), leaf(lbfgs, precision="bf16"), leaf(lbfgs, grad_accumulation=2)
        )
    ) == [
        (0, "train.precision", "E408"),
        (1, "train.precision", "E408"),
        (2, "train.grad_accumulation", "E408"),
    ]


def test_normalising_over_several_devices_needs_gpus(tmp_path):
    leaves = [leaf(gpus=size, batch_norm=how) for size, how in ((2, "local"), (2, "sync"), (1, "sync"))]
    assert codes(probed(tmp_path, *leaves)) == [(1, "train.batch_norm", "E416")]


def test_values_are_tried_out_in_leaf_configs_that_differ_in_numbers_alone(tmp_path):
    def adam(rate):
        return leaf({"name": "Adam", "args": {"lr": rate}})

    executor = TrainingSandbox(tmp_path).executor
    answer = executor.probe(
        Probe((json.dumps(adam(0.1)),), (), tuple(map(json.dumps, (adam(0.2), adam(-0.1)))))
    )

    assert codes(answer.findings) == [(2, "train.optimizer.args.lr", "E406")]
    assert len(answer.measured) == 1


def test_a_cycle_is_compared_with_the_steps_of_the_run(tmp_path):
    def cycle(steps):
        return leaf(lr_scheduler={"name": "OneCycleLR", "args": {"max_lr": 0.2, "total_steps": steps}})

    found = probed(tmp_path, cycle(14), cycle(15), spec="Plain")

    assert codes(found) == [(0, "train.lr_scheduler.args.total_steps", "E409")]
    assert (found[0].found, found[0].expected) == ("14", "15")


def test_data_that_cannot_be_loaded_leave_the_length_of_the_run_open(tmp_path):
    def cycle(steps):
        return leaf(lr_scheduler={"name": "OneCycleLR", "args": {"max_lr": 0.2, "total_steps": steps}})

    found = probed(tmp_path, cycle(2), cycle(3), spec="NoData")

    assert codes(found) == [(0, "train.lr_scheduler.args.total_steps", "E409")]
    assert found[0].expected == "at least 3"


def test_plateau_without_a_mode_on_a_metric_of_no_known_direction_is_told(tmp_path):
    def plateau(metric, **args):
        return leaf(lr_scheduler={"name": "ReduceLROnPlateau", "monitor": metric, "args": args})

    unknown, known, told = plateau("margin"), plateau("top1_accuracy"), plateau("margin", mode="max")
    found = probed(tmp_path, unknown, known, told, spec="WithMetrics")

    assert codes(found) == [(0, "train.lr_scheduler.args", "E403")]


def test_a_metric_that_plateau_watches_and_no_run_measures_is_found_before_training(tmp_path):
    plateau = {"name": "ReduceLROnPlateau", "monitor": "top1_acuracy"}
    (finding,) = probed(tmp_path, leaf(lr_scheduler=plateau))
    assert (finding.path, finding.code) == (("train", "lr_scheduler", "monitor"), "E421")
    assert finding.hint == "did you mean `top1_accuracy`?"


@pytest.mark.parametrize(
    ("scheduler", "path", "code"),
    [
        ({"name": "StepLR", "args": {"step_size": 2}, "monitor": "loss"}, "monitor", "E405"),
        ({"name": "ReduceLROnPlateau", "interval": "step"}, "interval", "E406"),
    ],
)
def test_what_the_scheduler_would_ignore_is_refused(tmp_path, scheduler, path, code):
    assert codes(probed(tmp_path, leaf(lr_scheduler=scheduler))) == [(0, f"train.lr_scheduler.{path}", code)]


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("loss", "`metrics` returned a metric `loss`, which the run already has"),
        ("named", "`metrics` returned a metric `top1_accuracy`, which the run already has"),
        ("list", "`metrics` returned a list of 1, not a dict"),
        ("function", "metric `own` is a function, not a torchmetrics.Metric"),
        ("collection", "metric `own` is a collection, not a single number"),
        ("classes", "metric `own` has one value per class, not a single number"),
        ("wrapped", "metric `own` is a ClasswiseWrapper, not a single number"),
        ("matrix", "metric `own` is a MulticlassConfusionMatrix, not a single number"),
    ],
)
def test_metrics_that_cannot_be_used_are_told(tmp_path, which, message):
    config = leaf(user_knobs={"metric": which})
    (finding,) = probed(tmp_path, config, spec="OddMetrics")
    assert (finding.path, finding.code, finding.message) == (("mlspec",), "E422", message)

    place = TrainingSandbox(tmp_path / "trained", "OddMetrics")
    place.train(config, until=1)
    assert place.failure().cause == message


def test_data_that_nobody_loads_are_told(tmp_path):
    (finding,) = probed(tmp_path, leaf(), spec="Default")

    assert (finding.leaf, finding.path, finding.code) == (-1, ("data",), "E414")


def test_methods_that_do_not_take_what_they_are_passed_are_told(tmp_path):
    findings = probed(tmp_path, leaf(), spec="WrongSignatures")

    assert codes(findings) == [(-1, "mlspec", "E413")] * 3
    assert findings[1].found == "row_prep(self, row)"
    assert findings[1].expected == "row_prep(self, row, cfg, mode)"


@pytest.mark.parametrize(
    ("mlspec", "code", "message"),
    [
        (f"{SPECS}:Nowhere", "E411", "has no `Nowhere`"),
        ("tests.training.nowhere:Spec", "E410", "`tests.training.nowhere:Spec` cannot be imported"),
        ("tests.training.broken:Spec", "E410", "`tests.training.broken:Spec` cannot be imported"),
        (f"{SPECS}:NoSpec", "E411", "is not an MLSpec"),
        (f"{SPECS}:CLASSES", "E411", "is not an MLSpec"),
        (f"{SPECS}:Incomplete", "E412", "does not define `compute_forward`"),
    ],
)
def test_an_mlspec_that_cannot_be_used_is_refused(tmp_path, mlspec, code, message):
    with pytest.raises(SpecProblem) as raised:
        TrainingSandbox(tmp_path, mlspec)

    assert raised.value.finding.code == code
    assert message in raised.value.finding.message
