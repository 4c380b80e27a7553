"""A warm start copies weights and moments; every hyperparameter is the new run's own."""

import json

import pytest
import torch
from safetensors.torch import load_file

from rapidfire_cli.durable import publication
from rapidfire_cli.engine.checkpoints import ORIGIN
from rapidfire_cli.engine.messages import Assignment, Train
from rapidfire_cli.facts import RunFailed, TurnEnded
from rapidfire_cli.terms import WarmStart
from tests.training.sandbox import TrainingSandbox, leaf, same

MOMENTUM = {"name": "SGD", "args": {"lr": 0.1, "momentum": 0.9}}


def parent(directory, optimizer=MOMENTUM, **knobs):
    """A run that completed two epochs."""
    place = TrainingSandbox(directory, "Wide")
    place.train(leaf(optimizer, epochs=2, **knobs), until=2)
    return place


def warm(place, config, until=1, run=2, **flags):
    """Give a run a turn that begins with the weights of run 1; the run in memory, None where it failed."""
    directory = place.directory / f"{run}"
    if not directory.exists():
        publication.twin(place.checkpoints()[-1], directory / ORIGIN)
    started = WarmStart("0123456789abcdef", 2, **flags)
    order = Train((Assignment(run, json.dumps(config), 42, str(directory), started),), until)
    place.executor.train(order)
    return place.executor._runs.get(run)


def begun(place, config, **flags):
    """The run before its first step."""
    place.pulses, place.stop_at = 0, None
    return warm(place, config, until=0, **flags)


def test_weights_and_moments_are_copied_and_the_edited_rate_is_the_one_used(tmp_path):
    place = parent(tmp_path)
    kept = torch.load(place.checkpoints()[-1] / "state.pt", weights_only=True)["optimizer"]["state"]
    run = begun(place, leaf({"name": "SGD", "args": {"lr": 0.5, "momentum": 0.8}}, epochs=3))
    assert same(run.model.state_dict(), load_file(place.directory / "1" / "final.safetensors"))
    names = {parameter: name for name, parameter in run.model.named_parameters()}
    for parameter, state in run.optimizer.state.items():
        assert torch.equal(state["momentum_buffer"], kept[names[parameter]]["momentum_buffer"])
    assert len(run.optimizer.state) == len(kept)
    [group] = run.optimizer.param_groups
    assert (group["lr"], group["momentum"]) == (0.5, 0.8)
    assert (run.epoch, run.step, run.history) == (0, 0, [])


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        ({"name": "Adam", "args": {"lr": 0.1}}, "it was SGD"),
        ({"name": "SGD", "args": {"lr": 0.1}}, "keeps something else"),
    ],
)
def test_moments_that_mean_something_else_are_left_behind_and_the_log_says_so(tmp_path, optimizer, said):
    place = parent(tmp_path)
    run = begun(place, leaf(optimizer, epochs=1))
    assert not run.optimizer.state
    assert said in place.log(2)


def test_a_changed_architecture_is_refused_with_the_tensors(tmp_path):
    place = parent(tmp_path, user_knobs={"width": 8})
    assert warm(place, leaf(MOMENTUM, epochs=1, user_knobs={"width": 4})) is None
    failure = place.failure(2)
    assert failure.kind == "warm_start"
    assert (
        "is (4, " in failure.cause
        and "was (8, " in failure.cause
        and "--warm-start=matching" in failure.cause
    )


def test_matching_loads_the_tensors_that_fit_and_the_log_names_the_others(tmp_path):
    place = parent(tmp_path, user_knobs={"width": 8})
    run = begun(place, leaf(MOMENTUM, epochs=1, user_knobs={"width": 4}), matching=True)
    final = load_file(place.directory / "1" / "final.safetensors")
    now = run.model.state_dict()
    fitting = {name for name in final if final[name].shape == now[name].shape}
    assert fitting and fitting < now.keys()
    assert all(torch.equal(final[name], now[name]) for name in fitting)
    assert f"loaded {len(fitting)} of {len(now)} tensors; not loaded: " in place.log(2)


def test_a_schedule_begins_anew_unless_it_is_kept(tmp_path):
    schedule = {"name": "StepLR", "args": {"step_size": 1, "gamma": 0.1}}
    place = parent(tmp_path, lr_scheduler=schedule)
    config = leaf(MOMENTUM, epochs=3, lr_scheduler=schedule)
    assert begun(place, config).optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
    kept = begun(place, config, run=3, keep_schedule=True)
    before = torch.load(place.checkpoints()[-1] / "state.pt", weights_only=True)["optimizer"]["groups"]
    assert kept.optimizer.param_groups[0]["lr"] == before[0]["lr"] < 0.1


def test_the_source_goes_with_the_first_checkpoint_and_the_run_continues_without_it(tmp_path):
    whole, place = parent(tmp_path / "whole"), parent(tmp_path / "stopped")
    config = leaf(MOMENTUM, epochs=3)
    warm(whole, config, until=3)
    place.pulses, place.stop_at = 0, 5
    warm(place, config, until=3)
    assert not (place.directory / "2" / ORIGIN).exists()
    again = TrainingSandbox(tmp_path / "stopped", "Wide")
    warm(again, config, until=3)
    assert same(again.weights(2), whole.weights(2))


def test_a_damaged_or_missing_source_fails_the_run(tmp_path):
    place = parent(tmp_path)
    (place.directory / "2").mkdir()
    assert warm(place, leaf(MOMENTUM, epochs=1)) is None
    [failure] = [one for one in place.told if isinstance(one, RunFailed)]
    assert "the weights to begin with cannot be used" in failure.cause
    assert not [one for one in place.told if isinstance(one, TurnEnded) and one.run == 2]
