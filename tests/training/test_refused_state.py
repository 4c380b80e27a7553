"""State that no checkpoint can hold: the run is refused before its first step, or as soon as it appears."""

import json

import pytest
import torch
from torch import nn

from rapidfire_cli.engine.messages import Smoke
from rapidfire_cli.facts import RunFailed
from tests.training.sandbox import TrainingSandbox, leaf
from tests.training.specs import CLASSES, Blobs
from tests.training.test_state import Body, Stats, config

HERE = __name__


class Case(Blobs):
    """Trains the model that `user_knobs.model` names."""

    def create_model(self, cfg):
        return globals()[cfg["user_knobs"]["model"]]()


def undisturbed(directory, spec, knobs):
    place = TrainingSandbox(directory, f"{HERE}:{spec.__name__}")
    place.train(knobs, until=3)
    return place


class Cycling(Body):
    def begin(self):
        self.numbers = (number / 4 for number in range(1, 10**6))

    def factor(self, x):
        return next(self.numbers)


class Appearing(Body):
    def factor(self, x):
        self.stats = Stats(1)
        return 1.0


class Rebuilding(Body):
    def factor(self, x):
        if not hasattr(self, "more"):
            self.more = nn.Linear(6, 1)
        return 1.0


REFUSED = {
    Cycling: "`model.numbers` cannot be saved in a checkpoint: the generator advances during training",
    Appearing: "`model.stats` cannot be saved in a checkpoint: a Stats is set during training",
    Rebuilding: "the model cannot be saved in a checkpoint: module `more` was added or removed in training",
}


@pytest.mark.parametrize("model", REFUSED, ids=lambda model: model.__name__)
def test_a_run_whose_state_cannot_be_held_fails_after_its_first_step(tmp_path, model):
    place = undisturbed(tmp_path, Case, config(model))
    assert place.failure() == RunFailed(1, "state", REFUSED[model], step=1)


@pytest.mark.parametrize("model", REFUSED, ids=lambda model: model.__name__)
def test_a_smoke_test_refuses_state_that_cannot_be_held(tmp_path, model):
    place = TrainingSandbox(tmp_path, f"{HERE}:Case", data_cache=0)
    (finding,) = place.executor.smoke(Smoke(json.dumps(config(model)), 42)).findings
    assert (finding.code, finding.found) == ("E432", REFUSED[model])


class Custom(torch.Tensor):
    """A tensor class of the user's own."""


class OfOwnTensors(Body):
    def begin(self):
        self.own = nn.Parameter(torch.zeros(CLASSES).as_subclass(Custom))


class StrangeState(Case):
    """Returns something from its own `state_dict` that a checkpoint cannot hold, from the first call on."""

    def state_dict(self):
        return {"notes": [1, {"here": Stats()}]}

    def load_state_dict(self, state):
        pass


class FailingState(StrangeState):
    def state_dict(self):
        raise LookupError("no state")


@pytest.mark.parametrize(
    ("spec", "model", "kind", "cause"),
    [
        (
            Case,
            OfOwnTensors,
            "state",
            "the run's state cannot be saved in a checkpoint: it contains a Custom",
        ),
        (StrangeState, Body, "error", "state_dict must return tensors and plain data, not Stats"),
        (FailingState, Body, "error", "LookupError: no state ("),
    ],
)
def test_state_that_cannot_be_held_from_the_start_is_refused_before_the_first_step(
    tmp_path, spec, model, kind, cause
):
    failure = undisturbed(tmp_path, spec, config(model)).failure()
    assert (failure.kind, failure.step) == (kind, 0)
    assert failure.cause.startswith(cause)


class Moments(torch.optim.SGD):
    """Keeps an object in its state for each parameter."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter].setdefault("stats", Stats()).count += 1
        return super().step(closure)


def test_an_optimizers_state_that_cannot_be_held_is_refused_after_the_first_step(tmp_path):
    optimizer = {"name": f"{HERE}:Moments", "args": {"lr": 0.01}}
    failure = undisturbed(tmp_path, Case, leaf(optimizer, user_knobs={"model": "Body"})).failure()
    assert (failure.kind, failure.step) == ("state", 1)
    assert failure.cause.endswith("it contains a Stats")


class Sometimes(Body):
    strange = False

    def factor(self, x):
        if self.strange:
            self.stats = Stats(1)
        return 1.0


class ByKnob(Blobs):
    def create_model(self, cfg):
        model = Sometimes()
        model.strange = cfg["user_knobs"]["strange"]
        return model


def test_a_run_is_checked_even_if_one_of_the_same_structure_could_be_saved(tmp_path):
    place = TrainingSandbox(tmp_path, f"{HERE}:ByKnob")
    for run, strange in enumerate([False, True], start=1):
        place.train(leaf(user_knobs={"strange": strange}), until=3, run=run)
    assert place.weights(1)
    assert (place.failure(2).kind, place.failure(2).step) == ("state", 1)


class InEvaluation(Body):
    """Changes only where it is validated."""

    def factor(self, x):
        if not self.training:
            self.stats = Stats(1)
        return 1.0


class InThirdEpoch(Body):
    """Changes in the middle of an epoch; an epoch has five steps."""

    def begin(self):
        self.calls = 0

    def factor(self, x):
        self.calls += self.training
        if self.calls == 12:
            self.stats = Stats(1)
        return 1.0


@pytest.mark.parametrize("limit", [0, 9])
@pytest.mark.parametrize(
    ("model", "chunks", "step", "told"),
    [(InEvaluation, 1, 5, 0), (InThirdEpoch, 1, 15, 2), (InThirdEpoch, 5, 12, 2)],
)
def test_state_that_appears_later_is_refused_where_the_turn_or_the_epoch_ends(
    tmp_path, model, chunks, step, told, limit
):
    place = TrainingSandbox(tmp_path, f"{HERE}:Case", chunks=chunks)
    knobs = config(model, epochs=4)
    for ticks in range(1, 4 * chunks):
        if not [each for each in place.told if isinstance(each, RunFailed)]:
            place.train(knobs, until=ticks, limit=limit)

    cause = "`model.stats` cannot be saved in a checkpoint: a Stats is set during training"
    assert place.failure() == RunFailed(1, "state", cause, step=step)
    assert len(place.epochs()) == told


HIDDEN = [0]


class Elsewhere(Body):
    """Keeps its state in the user's module, where nobody looks."""

    def factor(self, x):
        HIDDEN[0] += 1
        return HIDDEN[0]


def test_a_smoke_test_refuses_state_that_is_kept_where_nobody_looks(tmp_path):
    place = TrainingSandbox(tmp_path, f"{HERE}:Case", data_cache=0)
    (finding,) = place.executor.smoke(Smoke(json.dumps(config(Elsewhere)), 42)).findings
    assert finding.code == "E432"
    assert finding.found.endswith("differs after the checkpoint was loaded into a new run")
