"""Frozen weights are made again, not saved; what training writes to or thaws is state like any other."""

import json
from itertools import product

import pytest
import torch
from safetensors import safe_open
from torch import nn

from rapidfire_cli.engine.messages import Assignment, Evaluate, Smoke, Use
from rapidfire_cli.terms import Objective
from rapidfire_cli.training.frozen import hashed, mixed
from rapidfire_cli.training.weights import FROZEN
from tests.shares import share
from tests.training.sandbox import TrainingSandbox, leaf, same
from tests.training.specs import CLASSES, Blobs

HERE = __name__
BATCHES = 5  # of training rows in an epoch


class Adapted(nn.Module):
    """A frozen layer with trainable low-rank matrices beside it; subclasses do something to the former."""

    def __init__(self):
        super().__init__()
        self.base = nn.Linear(6, 6).requires_grad_(False)
        self.down, self.up, self.head = nn.Linear(6, 2), nn.Linear(2, 6), nn.Linear(6, CLASSES)
        self.calls = 0
        self.begin()

    def begin(self):
        """Make more."""

    def touch(self):
        """What happens at each call."""

    def forward(self, x):
        self.calls += self.training
        self.touch()
        return self.head(torch.tanh(self.base(x) + self.up(self.down(x))))


class Teacher(Adapted):
    """The frozen layer is an average of the trained one, as of a mean teacher."""

    def begin(self):
        self.student = nn.Linear(6, 6)

    def touch(self):
        with torch.no_grad():
            self.base.weight.lerp_(self.student.weight, 0.1)

    def forward(self, x):
        return super().forward(self.student(x))


class ThroughData(Adapted):
    def touch(self):
        if self.training:
            self.base.weight.data.mul_(0.99)


class ThroughNumpy(Adapted):
    def touch(self):
        self.base.bias.numpy()[...] *= 0.99


class ThroughAView(Adapted):
    def begin(self):
        self.row = self.base.weight.data[0]

    def touch(self):
        self.row.mul_(0.99)


class Late(Adapted):
    """Writes once, in the third epoch."""

    def touch(self):
        if self.calls == 12:
            self.base.weight.data.fill_(0.1)


class Replaced(Adapted):
    def touch(self):
        if self.calls == 7:
            self.base.weight = nn.Parameter(self.base.weight * 0.5, requires_grad=False)


class Thawed(Adapted):
    """Trains its frozen layer from the second epoch on."""

    def touch(self):
        if self.calls == BATCHES + 2:
            self.base.requires_grad_(True)


class ForAWhile(Adapted):
    """Trains its frozen layer for two steps."""

    def touch(self):
        self.base.requires_grad_(self.calls in (4, 5))


class FrozenLater(Adapted):
    def touch(self):
        if self.calls == 7:
            self.head.requires_grad_(False)


class TiedBase(Adapted):
    def begin(self):
        self.again = nn.Linear(6, 6).requires_grad_(False)
        self.again.weight = self.base.weight


class WithTrained(Adapted):
    """A frozen and a trained parameter that are parts of one tensor."""

    def begin(self):
        flat = torch.linspace(-1, 1, 42)
        self.base.weight = nn.Parameter(flat[:36].view(6, 6), requires_grad=False)
        self.part = nn.Parameter(flat[30:])

    def forward(self, x):
        return super().forward(x * self.part[:6])


class Hidden(Adapted):
    """A large buffer that is not in the state_dict, and one that changes."""

    def begin(self):
        self.register_buffer("mask", torch.ones(200, 200), persistent=False)
        self.register_buffer("moving", torch.ones(200, 200), persistent=False)

    def touch(self):
        self.moving *= 0.99

    def forward(self, x):
        return super().forward(x * self.mask[0, :6] * self.moving[0, :6])


REMADE = {
    Adapted: {"base.weight", "base.bias"},
    Teacher: {"base.bias"},
    ThroughData: {"base.bias"},
    ThroughNumpy: {"base.weight"},
    ThroughAView: {"base.bias"},
    Late: {"base.bias"},
    Thawed: set(),
    ForAWhile: set(),
    FrozenLater: {"base.weight", "base.bias"},
    TiedBase: {"base.weight", "base.bias", "again.bias"},
    WithTrained: {"base.bias"},
    Hidden: {"base.weight", "base.bias", "mask"},
}
"""By model, what a checkpoint after three epochs does not hold."""


class Case(Blobs):
    """Trains the model that `user_knobs.model` names."""

    def create_model(self, cfg):
        return globals()[cfg["user_knobs"]["model"]]()


def config(model, **train):
    return leaf(
        optimizer={"name": "Adam", "args": {"lr": 0.02}}, user_knobs={"model": model.__name__}, **train
    )


def undisturbed(directory, model, **train):
    place = TrainingSandbox(directory, f"{HERE}:Case")
    place.train(config(model, **train), until=3)
    return place


def held(place):
    """The names of the tensors that the last checkpoint holds in one of its files."""
    checkpoint = place.checkpoints()[-1]
    with safe_open(checkpoint / "model.safetensors", "pt") as file:
        state = torch.load(checkpoint / "state.pt", weights_only=True)["model"]
        return {*file.keys(), *state["elsewhere"]}, {*state["hashes"]} - {*state["elsewhere"]}


@pytest.mark.parametrize(
    ("model", "stop_at"),
    share(product(REMADE, [1, 6, 13, 15]), 7),
    ids=lambda said: getattr(said, "__name__", str(said)),
)
def test_a_run_with_frozen_weights_continues_bit_for_bit_whatever_is_done_to_them(tmp_path, model, stop_at):
    whole = undisturbed(tmp_path / "whole", model)
    stopped = TrainingSandbox(tmp_path / "stopped", f"{HERE}:Case")
    stopped.stop_at = stop_at
    stopped.train(config(model), until=3)
    continued = undisturbed(tmp_path / "stopped", model)

    assert continued.epochs() == whole.epochs()
    assert same(continued.weights(), whole.weights())
    assert held(continued) == held(whole)


@pytest.mark.parametrize("model", REMADE, ids=lambda model: model.__name__)
def test_a_checkpoint_leaves_out_what_is_frozen_and_unchanged_and_nothing_else(tmp_path, model):
    names, remade = held(undisturbed(tmp_path, model))

    assert remade == REMADE[model]
    assert not names & remade
    made = globals()[model.__name__]()
    assert {name for name, _ in [*made.named_parameters(), *made.named_buffers()]} <= names | remade


@pytest.mark.parametrize("model", [Adapted, Teacher, Thawed, Hidden], ids=lambda model: model.__name__)
def test_a_smoke_test_finds_that_a_checkpoint_holds_frozen_weights(tmp_path, model):
    place = TrainingSandbox(tmp_path, f"{HERE}:Case", data_cache=0)
    assert place.executor.smoke(Smoke(json.dumps(config(model)), 42)).findings == ()


def test_weights_files_say_what_they_leave_out(tmp_path):
    place = TrainingSandbox(tmp_path, f"{HERE}:Case", objective=None)
    place.train(config(TiedBase), until=3)
    with safe_open(tmp_path / "1" / "final.safetensors", "pt") as file:
        told = json.loads(file.metadata()[FROZEN])

    torch.manual_seed(0)
    assert told.keys() == {"base.weight", "base.bias", "again.weight", "again.bias"}
    assert told["base.weight"] == told["again.weight"] != told["base.bias"]
    missing, unexpected = TiedBase().load_state_dict(place.weights(), strict=False)
    assert (set(missing), unexpected) == (told.keys(), [])


def test_a_parameter_that_is_replaced_fails_the_run_with_its_name(tmp_path):
    failure = undisturbed(tmp_path, Replaced).failure()
    assert failure.kind == "state"
    assert "parameter `base.weight` was replaced by another in training; write into it" in failure.cause


class Big(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.base = nn.Linear(6, 1000), nn.Linear(1000, 1000).requires_grad_(False)
        self.down, self.up = nn.Linear(1000, 32, bias=False), nn.Linear(32, 1000, bias=False)
        self.first.requires_grad_(False)
        self.head = nn.Linear(1000, CLASSES)

    def forward(self, x):
        x = torch.tanh(self.first(x))
        return self.head(self.base(x) + self.up(self.down(x)))


def test_a_checkpoint_takes_little_more_than_what_is_trained_and_its_optimizer(tmp_path):
    place = undisturbed(tmp_path, Big)
    trained = sum(each.nbytes for each in Big().parameters() if each.requires_grad)

    size = sum(file.stat().st_size for file in place.checkpoints()[-1].iterdir())
    assert size <= 1.1 * 3 * trained  # Adam keeps two numbers for each parameter


class FromAFile(Blobs):
    """Loads its frozen layer from a file."""

    def create_model(self, cfg):
        model = Adapted()
        model.base.load_state_dict(torch.load(cfg["user_knobs"]["base"]))
        return model


def test_a_run_whose_frozen_weights_are_others_now_fails_and_names_them(tmp_path):
    base = nn.Linear(6, 6)
    torch.save(base.state_dict(), tmp_path / "base.pt")
    knobs = leaf(user_knobs={"base": str(tmp_path / "base.pt")})
    stopped = TrainingSandbox(tmp_path, f"{HERE}:FromAFile")
    stopped.stop_at = 6
    stopped.train(knobs, until=3)
    torch.save({**base.state_dict(), "weight": base.weight * 2}, tmp_path / "base.pt")
    continued = TrainingSandbox(tmp_path, f"{HERE}:FromAFile")
    continued.train(knobs, until=3)

    failure = continued.failure()
    assert failure.kind == "checkpoint"
    said = "create_model did not make the frozen weights that the run was trained with: `base.weight` differ"
    assert failure.cause.startswith(said)
    assert "test_frozen.py:" in failure.cause and ", in create_model)" in failure.cause

    torch.save(base.state_dict(), tmp_path / "base.pt")
    mended = TrainingSandbox(tmp_path, f"{HERE}:FromAFile")
    mended.train(knobs, until=3)
    assert mended.epochs().keys() == {1, 2, 3}


class Spoiled(Adapted):
    """Loses what it learned in its last epoch, by a write to its frozen layer."""

    def touch(self):
        if self.calls == 12:
            self.base.weight.data.fill_(50)
            self.head.weight.data.fill_(9).mul_(torch.arange(CLASSES)[:, None])


@pytest.mark.parametrize("keep", ["resume", "weights"])
@pytest.mark.parametrize("model", [Adapted, Spoiled], ids=lambda model: model.__name__)
def test_the_best_epoch_is_used_with_the_frozen_weights_that_it_had(tmp_path, model, keep):
    place = TrainingSandbox(tmp_path, f"{HERE}:Case", objective=Objective("loss", "min"), keep=keep)
    place.train(config(model), until=3)
    losses = {epoch: values["validation", "loss"] for epoch, values in place.epochs().items()}
    best = min(losses, key=lambda epoch: losses[epoch])
    assert best != 3, "this test needs a run that got worse"
    for at, epoch in (("best", best), ("last", 3)):
        assignment = Assignment(1, json.dumps(config(model)), 42, str(tmp_path / "1"))
        answer = place.executor.use(Use(assignment, at, Evaluate("validation")))
        assert (answer.findings, answer.epoch) == ((), epoch)
        values = {(each.split, each.name): each.value for each in answer.metrics}
        assert values.items() <= place.epochs()[epoch].items()


@pytest.mark.parametrize("hash_of", [hashed, mixed])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8, torch.bool])
def test_hashes_differ_where_a_tensor_was_changed_in_any_way(hash_of, dtype):
    generator = torch.Generator().manual_seed(1)
    tensor = torch.randint(0, 2, (31, 7), generator=generator).to(dtype)
    first, last = tensor.clone(), tensor.clone()
    first[0, 0], last[-1, -1] = not tensor[0, 0], not tensor[-1, -1]
    ways = [first, last, tensor.flip(0), tensor.flip(1), tensor.roll(1, 0), tensor.logical_not().to(dtype)]

    assert hash_of(tensor) == hash_of(tensor.clone())
    assert all(hash_of(way) != hash_of(tensor) for way in ways)
