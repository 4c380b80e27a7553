"""Attributes that stay as they are cost next to nothing; whatever changes is found."""

import weakref

import pytest
import torch
from torch import nn

from rapidfire_cli.training.attributes import MODEL, Attributes


class Holder:
    """What an MLSpec may keep on itself: immutable values and containers of them."""

    def __init__(self):
        self.factor, self.name, self.flag = 0.5, "warm", True
        self.seen, self.by_name, self.tags = [1, 2], {"a": 1, "b": 2}, {"x"}


def kept(**more):
    """A model, an object beside it that also holds `more`, and their attributes."""
    model, holder = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), Holder()
    model[0].temperature, model[0].mean = 1.0, model[1].running_mean
    vars(holder).update(more)
    return model, holder, Attributes({MODEL: model, "self": holder}, model)


@pytest.fixture
def walks(monkeypatch):
    """Each walk over all attributes, as it happens."""
    seen, walk = [], Attributes._walk
    monkeypatch.setattr(Attributes, "_walk", lambda self: seen.append(self) or walk(self))
    return seen


def test_attributes_that_stay_as_they_are_are_not_walked_again(walks):
    model, _, attributes = kept()
    walks.clear()
    model(torch.ones(3, 2)).sum().backward()
    with torch.no_grad():
        model[0].weight.sub_(model[0].weight.grad)
    assert attributes.changed() == {}
    assert walks == []


def test_a_model_that_is_evaluated_between_epochs_is_walked_once(walks):
    model, _, attributes = kept()
    model[0].temperature = 2.0
    walks.clear()
    for _ in range(3):
        model.eval()
        assert [*attributes.changed()] == [(MODEL, "_modules", "0", "temperature")]
    assert len(walks) == 1
    model.train()
    model[0].temperature = 1.0
    assert attributes.changed() == {}
    assert len(walks) == 1


def test_tensors_that_the_model_replaces_are_not_kept():
    model, _, attributes = kept()
    gone = []
    for _ in range(3):
        gone.append(weakref.ref(model[1].running_var))
        model[1].running_var = torch.ones(2)
        attributes.changed()
    assert [each() for each in gone] == [None] * 3


@pytest.mark.parametrize("evaluated", [False, True])
@pytest.mark.parametrize(
    ("place", "change"),
    [
        (("self", "factor"), lambda _, holder: setattr(holder, "factor", 0.25)),
        (("self", "flag"), lambda _, holder: setattr(holder, "flag", 1)),
        (("self", "later"), lambda _, holder: setattr(holder, "later", None)),
        (("self", "name"), lambda _, holder: delattr(holder, "name")),
        (("self", "seen"), lambda _, holder: holder.seen.append(3)),
        (("self", "seen"), lambda _, holder: holder.seen.reverse()),
        (("self", "by_name"), lambda _, holder: holder.by_name.update(a=3)),
        (("self", "tags"), lambda _, holder: holder.tags.add("y")),
        ((MODEL, "_modules", "0", "temperature"), lambda model, _: setattr(model[0], "temperature", 2.0)),
        ((MODEL, "_modules", "0", "mean"), lambda model, _: setattr(model[1], "running_mean", torch.ones(2))),
    ],
)
def test_whatever_changes_is_found(place, change, evaluated):
    model, holder, attributes = kept()
    if evaluated:
        model.eval()
        attributes.changed()
        model.train()
    change(model, holder)
    assert [*attributes.changed()] == [place]
    assert [*attributes.changed()] == [place]


@pytest.mark.parametrize("value", [torch.zeros(2), [[1]], {"a": torch.zeros(2)}, iter([1, 2])])
def test_what_can_change_in_place_is_walked_each_time(walks, value):
    _, _, attributes = kept(value=value)
    walks.clear()
    assert attributes.changed() == {}
    assert attributes.changed() == {}
    assert len(walks) == 2
