"""Frozen weights with equal bytes are stored once per worker, and no run changes those of another."""

import gc

import pytest
import torch
from torch import nn

from rapidfire_cli.facts import Evicted, TurnEnded
from tests.shares import share
from tests.training.sandbox import TrainingSandbox, leaf, same
from tests.training.specs import CLASSES, Blobs

HERE = __name__
SIDE = 40
BASE = 2 * SIDE * SIDE * 4 + 200 * 200 * 4  # bytes: two layers, a buffer


class Based(nn.Module):
    """A frozen base that all runs load, with trained layers around it."""

    def __init__(self):
        super().__init__()
        made = torch.Generator().manual_seed(0)
        self.enter = nn.Linear(6, SIDE)
        self.base = nn.ParameterList(
            nn.Parameter(torch.randn(SIDE, SIDE, generator=made) / SIDE, requires_grad=False)
            for _ in range(2)
        )
        self.register_buffer("mask", torch.randn(200, 200, generator=made), persistent=False)
        self.leave = nn.Linear(SIDE, CLASSES)
        self.calls = 0

    def forward(self, x):
        x = torch.tanh(self.enter(x))
        for weight in self.base:
            x = x + x @ weight
        return self.leave(x + self.mask[:SIDE, :SIDE].mean(0))


def data(model):
    model.base[0].data.mul_(0.9)


def array(model):
    model.base[1].numpy()[0] += 1


def buffer(model):
    model.mask.mul_(0.9)


def view(model):
    model.base[1].data[3].fill_(0.5)


def thaw(model):
    model.base[0].requires_grad_(True)


def fail(model):
    model.base[0].data.zero_()
    raise RuntimeError("after a write")


WRITES = {each.__name__: each for each in (data, array, buffer, view, thaw, fail)}


class Shared(Blobs):
    """Runs on one base; one with a knob `writes` does that in its second epoch."""

    def create_model(self, cfg):
        self.knobs = cfg["user_knobs"]
        return TIED[self.knobs.get("form", "plain")](Based())

    def compute_forward(self, model, batch, cfg):
        model.calls += model.training
        if model.calls == 8 and "writes" in self.knobs:
            WRITES[self.knobs["writes"]](model)
        return super().compute_forward(model, batch, cfg)


def tied(model):
    model.base[1] = model.base[0]
    return model


def views(model):
    flat = torch.cat([weight.detach() for weight in model.base])
    for at in range(2):
        model.base[at] = nn.Parameter(flat[at * SIDE : at * SIDE + SIDE], requires_grad=False)
    return model


def seen(model):
    """An attribute looks into a frozen weight."""
    model.row = model.base[0].detach()[0]
    return model


TIED = {"plain": lambda model: model, "tied": tied, "views": views, "seen": seen}


def config(lr=0.01, **knobs):
    return leaf({"name": "Adam", "args": {"lr": lr}}, user_knobs=knobs)


def resident(place, number):
    return place.executor._runs[number]


def storages(place):
    """The bytes of distinct storages of the residents' models."""
    found = {}
    for run in place.executor._runs.values():
        for tensor in (*run.model.parameters(), *run.model.buffers()):
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(found.values())


@pytest.mark.parametrize(
    ("form", "base"), [("plain", BASE), ("tied", BASE - SIDE * SIDE * 4), ("views", BASE)]
)
def test_eight_runs_hold_their_base_once(tmp_path, form, base):
    place = TrainingSandbox(tmp_path, f"{HERE}:Shared")
    for run in range(1, 9):
        place.train(config(run / 100, form=form), until=1, run=run)
    trained = sum(each.nbytes for each in Based().parameters() if each.requires_grad)

    assert storages(place) == base + 8 * trained
    (*_, last) = [told for told in place.told if isinstance(told, TurnEnded)]
    assert last.shared == base
    assert last.size < 4 * trained  # with Adam's state


def test_a_run_that_is_alone_takes_its_base_for_shared(tmp_path):
    place = TrainingSandbox(tmp_path, f"{HERE}:Shared")
    ended = place.train(config(), until=1)[-1]
    assert ended.shared == BASE
    assert ended.size < BASE


def test_memory_goes_with_the_last_run(tmp_path):
    place = TrainingSandbox(tmp_path, f"{HERE}:Shared")
    for run in (1, 2):
        place.train(config(), until=1, run=run)
    assert len(place.executor._shared.pool._stored) == 3
    assert isinstance(place.evict(1)[-1], Evicted)
    assert len(place.executor._shared.pool._stored) == 3
    place.evict(2)
    gc.collect()
    assert len(place.executor._shared.pool._stored) == 0


def test_what_an_attribute_looks_into_is_not_shared(tmp_path):
    place = TrainingSandbox(tmp_path, f"{HERE}:Shared")
    for run in (1, 2):
        place.train(config(form="seen"), until=1, run=run)

    one, other = (resident(place, run).model for run in (1, 2))
    assert one.base[0].data_ptr() != other.base[0].data_ptr()
    assert one.base[1].data_ptr() == other.base[1].data_ptr()
    assert one.row.data_ptr() == one.base[0].data_ptr()


def alone(directory, knobs):
    place = TrainingSandbox(directory, f"{HERE}:Shared")
    place.train(knobs, until=3)
    return place


@pytest.mark.parametrize(
    ("writes", "form"), share([(writes, form) for form in TIED for writes in WRITES], 7), ids=str
)
def test_a_run_that_writes_to_frozen_weights_changes_no_neighbour(tmp_path, writes, form):
    neighbours = {1: config(0.01, form=form), 3: config(0.03, form=form)}
    writer = config(0.02, form=form, writes=writes)
    place = TrainingSandbox(tmp_path / "together", f"{HERE}:Shared", checkpoint_every=7)
    for until in (1, 2, 3):
        for run, knobs in {**neighbours, 2: writer}.items():
            place.train(knobs, until, run=run)

    for run, knobs in neighbours.items():
        undisturbed = alone(tmp_path / f"{run}", knobs)
        assert same(place.weights(run), undisturbed.weights())
        assert place.epochs(run) == undisturbed.epochs()
    if writes == "fail":
        assert "after a write" in place.failure(2).cause
    else:
        undisturbed = alone(tmp_path / "2", writer)
        assert same(place.weights(2), undisturbed.weights())
        assert place.epochs(2) == undisturbed.epochs()
