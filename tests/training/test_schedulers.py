"""Every scheduler of torch.optim.lr_scheduler steps when it should, and continues bit for bit."""

import pytest
import torch
from torch import nn

from rapidfire_cli.training import schedulers
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.schedulers import SCHEDULERS, watched
from tests.training.workplace import Workplace, leaf, same

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
NAMES = sorted(cls.__name__ for cls in SCHEDULERS.classes.values())


def halving(step):
    return 0.5**step


def slower(_step):
    return 0.9


def section(name, **beside):
    return {"name": name, "args": EXAMPLES.get(name, {}), **beside}


def optimizer():
    return torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)


def rates(place):
    return [group["lr"] for group in place.residents._runs[1].optimizer.param_groups]


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_and_continues_bit_for_bit(name, tmp_path):
    config = leaf(SGD, lr_scheduler=section(name))
    whole = Workplace(tmp_path / "whole", "Plain")
    whole.train(config, until=3)
    whole.train(leaf(SGD), until=3, run=2)
    assert not same(whole.weights(1), whole.weights(2))

    stopped = Workplace(tmp_path / "stopped", "Plain")
    stopped.stop_at = 12
    stopped.train(config, until=3)
    continued = Workplace(tmp_path / "stopped", "Plain")
    continued.train(config, until=3)

    assert same(continued.weights(), whole.weights())


def test_it_steps_per_optimizer_step_or_per_epoch(tmp_path):
    by_step, by_epoch = Workplace(tmp_path / "step", "Plain"), Workplace(tmp_path / "epoch", "Plain")
    by_step.train(leaf(SGD, lr_scheduler=section("ExponentialLR")), until=1)
    by_epoch.train(leaf(SGD, lr_scheduler=section("ExponentialLR", interval="epoch")), until=1)

    assert rates(by_step) == pytest.approx([0.1 * 0.9**5])
    assert rates(by_epoch) == pytest.approx([0.1 * 0.9])


def test_one_cycle_spans_the_run_unless_told_otherwise():
    assert schedulers.build(section("OneCycleLR"), optimizer(), total_steps=15).scheduler.total_steps == 15
    told = {"name": "OneCycleLR", "args": {"max_lr": 0.2, "total_steps": 30}}
    assert schedulers.build(told, optimizer(), total_steps=15).scheduler.total_steps == 30


def test_plateau_watches_a_metric_once_per_epoch():
    plateau = {"name": "ReduceLROnPlateau", "args": {"patience": 0}, "monitor": "train.loss"}
    schedule = schedulers.build(plateau, optimizer(), 15)
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
    with pytest.raises(Failure, match=r"the metrics are train\.loss, validation\.loss"):
        watched("los", names)


def test_a_metric_that_will_not_be_there_fails_the_run_before_it_trains(tmp_path):
    place = Workplace(tmp_path, "Plain")
    (failure,) = place.train(leaf(lr_scheduler=section("ReduceLROnPlateau", monitor="f1_score")), until=1)

    assert failure.cause.startswith("lr_scheduler.monitor is `f1_score`, but the metrics are train.loss")


def test_wrong_arguments_are_found_in_nested_schedulers_too():
    nested = {"name": "SequentialLR", "args": {"schedulers": [{"name": "StepLR", "args": {"stepsize": 2}}]}}
    found = [(finding.code, ".".join(finding.path)) for finding in schedulers.check(nested)]

    at = "train.lr_scheduler.args"
    assert found == [
        ("E403", at),
        ("E405", f"{at}.schedulers.0.args.stepsize"),
        ("E403", f"{at}.schedulers.0.args"),
    ]


def test_an_unknown_scheduler_or_callable_is_reported():
    (unknown,) = schedulers.check({"name": "CosineLR", "args": {}})
    (missing,) = schedulers.check({"name": "LambdaLR", "args": {"lr_lambda": "tests.training.nowhere:f"}})

    assert (unknown.code, unknown.path[-1]) == ("E404", "name")
    assert missing.code == "E407"
    assert "No module named 'tests.training.nowhere'" in missing.message
