"""Odd kinds of state: a checkpoint holds them exactly, or the run is refused where they change."""

import functools
import weakref
from array import array
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from rapidfire_cli.facts import RunFailed
from tests.shares import share
from tests.training.sandbox import TrainingSandbox, leaf, same
from tests.training.specs import CLASSES, Blobs
from tests.training.test_state import Body, config, equal, read

HERE = __name__


class Case(Blobs):
    """Trains the model that `user_knobs.model` names."""

    def create_model(self, cfg):
        return globals()[cfg["user_knobs"]["model"]]()


def undisturbed(directory, model):
    place = TrainingSandbox(directory, f"{HERE}:Case")
    place.train(config(model), until=3)
    return place


class Records(Body):
    def begin(self):
        self.records = np.zeros(2, dtype=[("mean", "f4"), ("steps", "i4", (2,))])

    def factor(self, x):
        self.records["mean"] += float(x.detach().mean())
        self.records["steps"][1] += 1
        return 1 + float(self.records["mean"][0]) + int(self.records["steps"][1, 1]) / 9


class ByColumns(Body):
    def begin(self):
        self.columns = np.asfortranarray(np.ones((2, 3), dtype=np.float32))

    def factor(self, x):
        self.columns *= 0.9
        return float(self.columns.sum()) if self.columns.flags.f_contiguous else 7.0


class Bytes(Body):
    def begin(self):
        self.bytes, self.numbers, self.space = bytearray(2), array("d", [1.0]), SimpleNamespace(tau=1.0)

    def factor(self, x):
        self.bytes[0] += 1
        self.numbers[0] *= 0.9
        self.space.tau *= 0.9
        return self.bytes[0] / 9 + self.numbers[0] + self.space.tau


class Scripted(Body):
    def begin(self):
        self.script = torch.jit.script(nn.Sequential(nn.Linear(6, CLASSES), nn.BatchNorm1d(CLASSES)))

    def factor(self, x):
        return self.script(x)


class OfLastGradient(Body):
    """Reads the gradient that the step before left, which a run that continues does not have."""

    def factor(self, x):
        gradient = self.lin.weight.grad
        return 1.0 if gradient is None else 1 + float(gradient.norm())


@pytest.mark.parametrize("stop_at", share([6, 1], 2))
@pytest.mark.parametrize(
    "model", [Records, ByColumns, Bytes, Scripted, OfLastGradient], ids=lambda model: model.__name__
)
def test_a_run_continues_bit_for_bit(tmp_path, model, stop_at):
    whole = undisturbed(tmp_path / "whole", model)
    stopped = TrainingSandbox(tmp_path / "stopped", f"{HERE}:Case")
    stopped.stop_at = stop_at
    stopped.train(config(model), until=3)
    continued = undisturbed(tmp_path / "stopped", model)

    assert equal(read(whole), read(continued))
    assert continued.epochs() == whole.epochs()


class Scale(float):
    """A number of a class of its own."""


class Table(np.ndarray):
    """An array of a class of its own."""


class Values(torch.Tensor):
    """A tensor of a class of its own."""


class OfScale(Body):
    def begin(self):
        self.scale = Scale(1)

    def factor(self, x):
        self.scale = Scale(self.scale * 0.9)
        return float(self.scale)


class OfTable(Body):
    def begin(self):
        self.table = np.ones(2).view(Table)

    def factor(self, x):
        self.table *= 0.9
        return float(self.table.sum())


class OfValues(Body):
    def begin(self):
        self.values = torch.ones(2).as_subclass(Values)

    def factor(self, x):
        self.values *= 0.9
        return self.values.as_subclass(torch.Tensor).sum()


class OfObjects(Body):
    def begin(self):
        self.objects = np.array([1.0, "a"], dtype=object)

    def factor(self, x):
        self.objects[0] *= 0.9
        return self.objects[0]


class Partly(Body):
    def begin(self):
        self.least = functools.partial(max, 1.0)

    def factor(self, x):
        self.least = functools.partial(max, self.least(0.0) + 0.1)
        return self.least(0.0)


class Weakly(Body):
    def begin(self):
        self.factors = weakref.WeakKeyDictionary({self.lin: 1.0})

    def factor(self, x):
        self.factors[self.lin] *= 0.9
        return self.factors[self.lin]


class RecentlyUsed(Body):
    """A cache of objects: the one that was used last is at the end."""

    def begin(self):
        self.cache = {name: nn.Linear(6, CLASSES).requires_grad_(False) for name in "ab"}

    def factor(self, x):
        name = next(iter(self.cache))
        self.cache[name] = self.cache.pop(name)
        return self.cache[name](x)


class ByParameter(Body):
    def begin(self):
        self.average = {self.lin.weight: nn.Linear(1, 1)}

    def factor(self, x):
        self.average.setdefault(self.lin.bias, nn.Linear(1, 1))
        return 1.0


class Window(Body):
    """An array that looks into a buffer."""

    def begin(self):
        self.register_buffer("queue", torch.ones(4))
        self.window = self.queue.numpy()[:2]

    def factor(self, x):
        self.window *= 0.9
        return self.queue.sum()


class TwoWindows(Body):
    def begin(self):
        self.queue = np.ones(4)
        self.window = self.queue[1:]

    def factor(self, x):
        self.window *= 0.9
        return float(self.queue.sum())


def double(module, args, output):
    """A hook of the user's own."""
    return 2 * output


class Hooked(Body):
    def begin(self):
        self.hooked = False

    def factor(self, x):
        if not self.hooked:
            self.lin.register_forward_hook(double)
        self.hooked = True
        return 1.0


class Unhooked(Body):
    def begin(self):
        self.calls, self.hook = 0, self.lin.register_forward_hook(double)

    def factor(self, x):
        self.hook.remove()
        return 1.0


class Louder(nn.Linear):
    """Replaces the class of a layer."""

    def forward(self, x):
        return 2 * super().forward(x)


class Changing(Body):
    def factor(self, x):
        self.lin.__class__ = Louder
        return 1.0


SHARED = "the array shares its memory with another array or tensor"
ORDER = "its keys or their order change during training"
HOOKS = "its hooks change during training; set them in create_model"
REFUSED = {
    OfScale: ("scale", "a Scale is set during training"),
    OfTable: ("table", "a Table is set during training"),
    OfValues: ("values", "a Values is set during training"),
    OfObjects: ("objects", "a ndarray is set during training"),
    Partly: ("least", "a partial is set during training"),
    Weakly: ("factors", "a WeakKeyDictionary is set during training"),
    RecentlyUsed: ("cache", ORDER),
    ByParameter: ("average", ORDER),
    Window: ("window", SHARED),
    TwoWindows: ("queue", SHARED),
    Hooked: ("lin", HOOKS),
    Unhooked: ("lin", HOOKS),
    Changing: ("lin", "a Louder is set during training"),
}


@pytest.mark.parametrize("model", REFUSED, ids=lambda model: model.__name__)
def test_a_run_is_refused_after_the_step_that_changes_it(tmp_path, model):
    at, reason = REFUSED[model]
    cause = f"`model.{at}` cannot be saved in a checkpoint: {reason}"
    assert undisturbed(tmp_path, model).failure() == RunFailed(1, "state", cause, step=1)


class Constant(Body):
    """The same kinds of state, which do not change."""

    def begin(self):
        self.scale, self.table, self.objects = Scale(1), np.ones(2).view(Table), np.array([1, "a"], object)
        self.least, self.factors = functools.partial(max, 1.0), weakref.WeakKeyDictionary({self.lin: 1.0})
        self.average, self.hook = {self.lin.weight: Louder(1, 1)}, self.lin.register_forward_hook(double)
        self.queue = np.ones(4)
        self.window = self.queue[1:]

    def factor(self, x):
        capture = self.lin.register_forward_hook(double)
        capture.remove()
        self.least = functools.partial(max, 1.0)
        return 1.0


def test_what_stays_as_it_is_trains(tmp_path):
    place = undisturbed(tmp_path, Constant)
    assert place.weights()


class Nested(Body):
    def begin(self):
        self.register_buffer("rows", torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]))


class OfMkldnn(Body):
    def begin(self):
        self.register_buffer("dense", torch.ones(3, 3).to_mkldnn())


@pytest.mark.parametrize(
    ("model", "is_a"),
    [(Nested, "`rows` is a nested tensor"), (OfMkldnn, "`dense` is a tensor of layout torch._mkldnn")],
)
def test_tensors_of_no_known_layout_are_refused_before_the_first_step(tmp_path, model, is_a):
    cause = f"the model cannot be saved in a checkpoint: {is_a}"
    assert undisturbed(tmp_path, model).failure() == RunFailed(1, "state", cause, step=0)


class Counting(torch.optim.SGD):
    """Keeps plain attributes and a generator."""

    def __init__(self, params, lr):
        super().__init__(params, lr)
        self.steps, self.means, self.rng = 0, [], torch.Generator().manual_seed(1)

    def step(self, closure=None):
        self.steps += 1
        self.means.append(float(torch.rand((), generator=self.rng)))
        for group in self.param_groups:
            group["lr"] = 0.1 * self.means[-1] / self.steps
        return super().step(closure)


class Overall(torch.optim.SGD):
    """Keeps state under a key that is not a parameter."""

    def step(self, closure=None):
        self.state["all"]["steps"] = self.state["all"].get("steps", 0) + 1
        for group in self.param_groups:
            group["lr"] = 0.1 / self.state["all"]["steps"]
        return super().step(closure)


class Wrapping(torch.optim.Optimizer):
    """Leaves the steps to an optimizer that it makes."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})
        self.inner = torch.optim.Adam(self.param_groups, lr)

    def step(self, closure=None):
        return self.inner.step(closure)


def section(cls):
    return {"name": f"{HERE}:{cls.__name__}", "args": {"lr": 0.05}}


@pytest.mark.parametrize("stop_at", [1, 6])
@pytest.mark.parametrize(
    "said",
    [
        section(Counting),
        section(Overall),
        [{"match": "*.bias", **section(Counting)}, section(Overall)],
        [{"match": "*.bias", **section(Counting)}, section(Counting)],
    ],
    ids=["attributes", "other keys", "both", "two"],
)
def test_what_an_optimizer_of_a_users_own_keeps_continues(tmp_path, said, stop_at):
    knobs = leaf(said, user_knobs={"model": "Body"})
    whole = TrainingSandbox(tmp_path / "whole", f"{HERE}:Case")
    whole.train(knobs, until=3)
    stopped = TrainingSandbox(tmp_path / "stopped", f"{HERE}:Case")
    stopped.stop_at = stop_at
    stopped.train(knobs, until=3)
    continued = TrainingSandbox(tmp_path / "stopped", f"{HERE}:Case")
    continued.train(knobs, until=3)

    assert same(whole.weights(), continued.weights())
    assert continued.epochs() == whole.epochs()


def test_an_optimizer_inside_another_is_refused_after_the_first_step(tmp_path):
    place = TrainingSandbox(tmp_path, f"{HERE}:Case")
    place.train(leaf(section(Wrapping), user_knobs={"model": "Body"}), until=3)
    cause = "`optimizer.inner.state` cannot be saved in a checkpoint: a defaultdict is set during training"
    assert place.failure() == RunFailed(1, "state", cause, step=1)
