"""Every scheduler of torch.optim.lr_scheduler steps when it should, and continues bit for bit."""

import pytest
import torch
from torch import nn

from rapidfire_cli.training import schedulers
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.schedulers import SCHEDULERS, Length, watched
from tests.shares import share
from tests.training.sandbox import TrainingSandbox, leaf, same

SGD = {"name": "SGD", "args": {"lr": 0.1, "momentum": 0.9}}
STEP = {"name": "StepLR", "args": {"step_size": 2}}
LINEAR = {"name": "LinearLR", "args": {"total_iters": 3}}
EXAMPLES = {
    "ChainedScheduler": {"schedulers": [STEP, LINEAR]},
    "CosineAnnealingLR": {"T_max": 5},
    "CosineAnnealingWarmRestarts": {"T_0": 3},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3},
    "ExponentialLR": {"gamma": 0.9},
    "LambdaLR": {"lr_lambda": "tests.training.test_schedulers:halving"},
    "MultiStepLR": {"milestones": [2, 5]},
    "MultiplicativeLR": {"lr_lambda": "tests.training.test_schedulers.slower"},
    "OneCycleLR": {"max_lr": 0.2},
    "ReduceLROnPlateau": {"patience": 0, "threshold": 2.0},  # nothing is ever good enough
    "SequentialLR": {"schedulers": [LINEAR, STEP], "milestones": [4]},
    "StepLR": {"step_size": 2},
}
THREE_BY_FIVE = Length(epochs=3, steps=5)
NAMES = sorted(cls.__name__ for cls in SCHEDULERS.classes.values())


def halving(step):
    return 0.5**step


def slower(_step):
    return 0.9


def forgetful(step):
    return {0: 1.0, 1: 0.5}[step]


def section(name, **beside):
    return {"name": name, "args": EXAMPLES.get(name, {}), **beside}


def optimizer():
    return torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)


def rates(place):
    return [group["lr"] for group in place.executor._runs[1].optimizer.param_groups]


@pytest.mark.parametrize("name", share(NAMES, 3))
def test_it_trains_and_continues_bit_for_bit(name, tmp_path):
    config = leaf(SGD, lr_scheduler=section(name))
    whole = TrainingSandbox(tmp_path / "whole", "Plain")
    whole.train(config, until=3)
    whole.train(leaf(SGD), until=3, run=2)
    assert not same(whole.weights(1), whole.weights(2))

    stopped = TrainingSandbox(tmp_path / "stopped", "Plain")
    stopped.stop_at = 12
    stopped.train(config, until=3)
    continued = TrainingSandbox(tmp_path / "stopped", "Plain")
    continued.train(config, until=3)

    assert same(continued.weights(), whole.weights())


def test_it_steps_per_optimizer_step_or_per_epoch(tmp_path):
    by_step, by_epoch = (
        TrainingSandbox(tmp_path / "step", "Plain"),
        TrainingSandbox(tmp_path / "epoch", "Plain"),
    )
    by_step.train(leaf(SGD, lr_scheduler=section("ExponentialLR")), until=1)
    by_epoch.train(leaf(SGD, lr_scheduler=section("ExponentialLR", interval="epoch")), until=1)

    assert rates(by_step) == pytest.approx([0.1 * 0.9**5])
    assert rates(by_epoch) == pytest.approx([0.1 * 0.9])


def test_one_cycle_spans_the_run_unless_told_otherwise():
    told = {"name": "OneCycleLR", "args": {"max_lr": 0.2, "total_steps": 30}}

    assert schedulers.build(section("OneCycleLR"), optimizer(), THREE_BY_FIVE).scheduler.total_steps == 15
    assert schedulers.build(told, optimizer(), THREE_BY_FIVE).scheduler.total_steps == 30


def test_by_the_epoch_a_run_is_as_long_as_its_epochs():
    by_epoch = section("OneCycleLR", interval="epoch")

    assert schedulers.build(by_epoch, optimizer(), THREE_BY_FIVE).scheduler.total_steps == 3


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("CosineAnnealingLR", "T_max"),
        ("LinearLR", "total_iters"),
        ("PolynomialLR", "total_iters"),
        ("OneCycleLR", "total_steps"),
    ],
)
@pytest.mark.parametrize(("interval", "length"), [("step", 15), ("epoch", 3)])
def test_run_stands_for_the_length_of_the_run(name, argument, interval, length):
    spanning = {"name": name, "args": {**EXAMPLES.get(name, {}), argument: "run"}, "interval": interval}

    assert schedulers.scheduler_findings(spanning) == []
    assert getattr(schedulers.build(spanning, optimizer(), THREE_BY_FIVE).scheduler, argument) == length


def test_inside_a_sequence_a_scheduler_spans_the_steps_between_its_milestones():
    warm_up = {"name": "LinearLR", "args": {"total_iters": "run"}}
    decay = {"name": "CosineAnnealingLR", "args": {"T_max": "run"}}
    nested = [warm_up, section("OneCycleLR"), decay]
    sequence = {"name": "SequentialLR", "args": {"milestones": [2, 6], "schedulers": nested}}

    first, second, third = schedulers.build(sequence, optimizer(), THREE_BY_FIVE).scheduler._schedulers

    assert (first.total_iters, second.total_steps, third.T_max) == (2, 4, 9)


def test_inside_a_chain_a_scheduler_spans_the_run():
    chain = {"name": "ChainedScheduler", "args": {"schedulers": [STEP, section("OneCycleLR")]}}

    _, second = schedulers.build(chain, optimizer(), THREE_BY_FIVE).scheduler._schedulers

    assert second.total_steps == 15


@pytest.mark.parametrize(("interval", "warm", "whole"), [("step", 5, 15), ("epoch", 1, 3)])
def test_after_a_warm_up_a_cycle_ends_near_nothing_with_the_run(interval, warm, whole):
    nested = [{"name": "ConstantLR", "args": {"factor": 1.0}}, section("OneCycleLR")]
    sequence = {"name": "SequentialLR", "args": {"milestones": [warm], "schedulers": nested}}
    schedule = schedulers.build({**sequence, "interval": interval}, sgd := optimizer(), THREE_BY_FIVE)

    used = []
    for step in range(15):
        used.append(sgd.param_groups[0]["lr"])
        sgd.step()
        schedule.after_step()
        if step % 5 == 4:
            schedule.after_epoch({})

    assert used[-1] < 1e-5 < max(used[-10:-5])
    assert schedule.scheduler._schedulers[1].total_steps == whole - warm


@pytest.mark.parametrize(
    ("args", "length", "wrong"),
    [
        ({"total_steps": 10}, THREE_BY_FIVE, True),
        ({"total_steps": 15}, THREE_BY_FIVE, False),
        ({"epochs": 3, "steps_per_epoch": 4}, THREE_BY_FIVE, True),
        ({"total_steps": 2}, Length(3, None), True),
        ({"total_steps": 10}, Length(3, None), False),
        ({}, Length(3, None), False),
    ],
)
def test_a_cycle_that_is_shorter_than_the_run_is_found(args, length, wrong):
    cycle = {"name": "OneCycleLR", "args": {"max_lr": 0.2, **args}}

    assert [finding.code for finding in schedulers.check_length(cycle, length)] == ["E409"] * wrong


def test_what_would_begin_after_the_end_of_the_run_is_found():
    sequence = {
        "name": "SequentialLR",
        "args": {"milestones": [20], "schedulers": [STEP, section("OneCycleLR")]},
    }

    (finding,) = schedulers.check_length(sequence, THREE_BY_FIVE)

    assert finding.path == ("train", "lr_scheduler", "args", "milestones")
    assert finding.message == "OneCycleLR begins after the end of the run"


@pytest.mark.parametrize(
    ("wrong", "at"),
    [
        ({"name": "StepLR", "args": {"step_size": "5"}}, "step_size"),
        ({"name": "CosineAnnealingLR", "args": {"T_max": 0}}, "T_max"),
        ({"name": "MultiStepLR", "args": {"milestones": 5}}, "milestones"),
        ({"name": "MultiStepLR", "args": {"milestones": [2.5]}}, "milestones"),
        ({"name": "ConstantLR", "args": {"factor": 2.0}}, "factor"),
        ({"name": "CyclicLR", "args": {"base_lr": 0.1, "max_lr": 0.2, "mode": "square"}}, "mode"),
        (
            {"name": "LambdaLR", "args": {"lr_lambda": "tests.training.test_schedulers:forgetful"}},
            "lr_lambda",
        ),
        ({"name": "SequentialLR", "args": {"milestones": [4, 2], "schedulers": [STEP] * 3}}, "milestones"),
        ({"name": "SequentialLR", "args": {"milestones": [4, 5], "schedulers": [STEP] * 2}}, "milestones"),
        ({"name": "ChainedScheduler", "args": {"schedulers": [STEP, 5]}}, "schedulers.1"),
        ({"name": "ChainedScheduler", "args": {"schedulers": [STEP, {"args": {}}]}}, "schedulers.1"),
        (
            {
                "name": "SequentialLR",
                "args": {"milestones": [4], "schedulers": [STEP, {"name": "ReduceLROnPlateau"}]},
            },
            "schedulers.1",
        ),
        (
            {
                "name": "ChainedScheduler",
                "args": {"schedulers": [STEP, {"name": "PolynomialLR", "args": {"power": "2"}}]},
            },
            "schedulers.1.args.power",
        ),
    ],
)
def test_values_that_a_scheduler_rejects_are_found_where_they_stand(wrong, at):
    found = schedulers.scheduler_findings(wrong) or schedulers.rehearse(wrong, THREE_BY_FIVE, optimizer)

    assert [(finding.code, ".".join(finding.path)) for finding in found] == [
        ("E406", f"train.lr_scheduler.args.{at}")
    ]


@pytest.mark.parametrize("name", NAMES)
def test_good_values_pass_the_rehearsal(name):
    assert schedulers.rehearse(section(name), THREE_BY_FIVE, optimizer) == []
    assert schedulers.rehearse(section(name), Length(3, None), optimizer) == []


@pytest.mark.parametrize(
    ("args", "monitor", "direction", "mode"),
    [
        ({}, "loss", "min", "min"),
        ({}, "top1_accuracy", "max", "max"),
        ({"mode": "min"}, "top1_accuracy", "max", "min"),
        ({"mode": "max"}, "odd", None, "max"),
    ],
)
def test_plateau_watches_in_the_better_direction_of_its_metric(args, monitor, direction, mode):
    plateau = {"name": "ReduceLROnPlateau", "args": args, "monitor": monitor}
    told = {monitor: direction}

    assert schedulers.build(plateau, optimizer(), THREE_BY_FIVE, told.get).scheduler.mode == mode


def test_plateau_needs_a_mode_where_the_better_direction_is_unknown():
    plateau = {"name": "ReduceLROnPlateau", "monitor": "odd"}

    with pytest.raises(Failure, match="ReduceLROnPlateau needs `mode`"):
        schedulers.build(plateau, optimizer(), THREE_BY_FIVE)


def test_the_direction_of_a_run_s_own_metrics_is_known(tmp_path):
    place = TrainingSandbox(tmp_path, "Plain")
    plateau = {"name": "ReduceLROnPlateau", "monitor": "train.top1_accuracy"}
    place.train(leaf(SGD, lr_scheduler=plateau), until=1)

    assert place.executor._runs[1].schedule.scheduler.mode == "max"


def test_plateau_watches_a_metric_once_per_epoch():
    plateau = {"name": "ReduceLROnPlateau", "args": {"patience": 0}, "monitor": "train.loss"}
    schedule = schedulers.build(plateau, optimizer(), THREE_BY_FIVE, lambda _: "min")
    for loss in (1.0, 1.0, 0.5, 0.7):
        schedule.after_step()
        schedule.after_epoch({"train": {"loss": loss}, "validation": {"loss": 9 * loss}})

    assert schedule.scheduler.best == 0.5
    assert schedule.scheduler.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.1 * 0.1)


def test_a_metric_without_a_split_is_validations_where_there_is_one():
    names = {"train": ["loss"], "validation": ["loss"]}

    assert watched("loss", names) == ("validation", "loss")
    assert watched("train.loss", names) == ("train", "loss")
    assert watched("loss", {"train": ["loss"]}) == ("train", "loss")


def test_a_metrics_name_can_hold_dots():
    names = {"train": ["loss", "head.f1"], "validation": ["loss", "head.f1"]}

    assert watched("head.f1", names) == ("validation", "head.f1")
    assert watched("train.head.f1", names) == ("train", "head.f1")
    assert watched("validation.head.f1", names) == ("validation", "head.f1")
    with pytest.raises(Failure, match=r"the metrics are train.loss, train.head.f1, validation.loss"):
        watched("f1", names)


def test_a_metric_that_is_not_there_is_not_watched():
    names = {"train": ["loss"], "validation": ["loss"]}
    with pytest.raises(Failure, match=r"the metrics are train\.loss, validation\.loss"):
        watched("los", names)


def test_a_metric_that_will_not_be_there_fails_the_run_before_it_trains(tmp_path):
    place = TrainingSandbox(tmp_path, "Plain")
    (failure,) = place.train(leaf(lr_scheduler=section("ReduceLROnPlateau", monitor="f1_score")), until=1)

    assert failure.cause.startswith("lr_scheduler.monitor is `f1_score`, but the metrics are train.loss")


def test_wrong_arguments_are_found_in_nested_schedulers_too():
    nested = {"name": "SequentialLR", "args": {"schedulers": [{"name": "StepLR", "args": {"stepsize": 2}}]}}
    found = [(finding.code, ".".join(finding.path)) for finding in schedulers.scheduler_findings(nested)]

    at = "train.lr_scheduler.args"
    assert found == [
        ("E403", at),
        ("E405", f"{at}.schedulers.0.args.stepsize"),
        ("E403", f"{at}.schedulers.0.args"),
    ]


def test_an_unknown_scheduler_or_callable_is_reported():
    (unknown,) = schedulers.scheduler_findings({"name": "CosineLR", "args": {}})
    (missing,) = schedulers.scheduler_findings(
        {"name": "LambdaLR", "args": {"lr_lambda": "tests.training.nowhere:f"}}
    )

    assert (unknown.code, unknown.path[-1]) == ("E404", "name")
    assert missing.code == "E407"
    assert "No module named 'tests.training.nowhere'" in missing.message
