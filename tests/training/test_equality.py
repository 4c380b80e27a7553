"""Two values are equal when they hold the same bits; what cannot be compared is different."""

import threading
from collections import UserDict, namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from rapidfire_cli.training.equality import differing, equal

NAN = float("nan")
Point = namedtuple("Point", "x y")


@dataclass
class Box:
    corner: torch.Tensor
    name: str = "a"


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


SCALES = (torch.tensor([0.5, 0.25]), torch.tensor([0, 0]))
PER_CHANNEL = ((*SCALES, 0, torch.qint8), (*SCALES, 1, torch.qint8))


def quantized(scale, zero_point):
    """The integers 3 and 7 with this scale and zero point."""
    numbers = (torch.tensor([3.0, 7.0]) - zero_point) * scale
    return torch.quantize_per_tensor(numbers, scale, zero_point, torch.qint8)


def picture(shade):
    return Image.new("RGB", (2, 2), (shade, 0, 0))


@pytest.mark.parametrize(
    ("make", "one", "other"),
    [
        (lambda value: value, 1, 2),
        (lambda value: value, 1, 1.0),
        (lambda value: value, 1, True),
        (float, "nan", "0.0"),
        (float, "-0.0", "0.0"),
        (torch.tensor, [1.0, NAN], [2.0, NAN]),
        (torch.tensor, [0.0], [-0.0]),
        (torch.tensor, [[1.0]], [1.0]),
        (lambda value: torch.tensor([1, 2]).to(value), torch.int32, torch.int64),
        (lambda value: torch.tensor(value)[::2].requires_grad_(), [1.0, 2.0, 3.0], [1.0, 2.0, 4.0]),
        (lambda value: torch.tensor([0.0, value]).to_sparse(), 1.0, 2.0),
        (lambda value: torch.tensor([[0.0, value]]).to_sparse_csr(), 1.0, 2.0),
        (lambda value: torch.tensor([[0.0, value]]).to_sparse_csc(), 1.0, 2.0),
        (lambda value: quantized(value, 0), 0.5, 0.25),
        (lambda value: quantized(0.5, value), 0, 1),
        (lambda value: torch.quantize_per_channel(torch.ones(2, 2), *value), *PER_CHANNEL),
        (np.array, [1.0, NAN], [1.0, 2.0]),
        (lambda value: np.array(["a", value], object), "b", "c"),
        (np.float32, 1, 2),
        (picture, 10, 20),
        (lambda value: {"a": {"b": [1, (2, value)]}}, torch.tensor(1), torch.tensor(2)),
        (lambda value: dict.fromkeys(value, 1), "ab", "ba"),
        (lambda value: [1] * value, 2, 3),
        (lambda value: Point(1, value), 2, 3),
        (lambda value: UserDict(x=torch.tensor(value)), 2, 3),
        (lambda value: Box(torch.tensor(value)), 2, 3),
        (lambda value: Slotted(torch.tensor(value)), 2, 3),
        (set, "ab", "ac"),
    ],
)
def test_values_are_equal_in_every_bit_or_different(make, one, other):
    assert equal(make(one), make(one))
    assert not equal(make(one), make(other))


@pytest.mark.parametrize(
    "make",
    [
        threading.Lock,
        lambda: (number for number in (1, 2)),
    ],
)
def test_what_cannot_be_compared_is_different(make):
    assert not equal(make(), make())


def test_what_holds_itself_comes_to_an_end():
    one, other = [], []
    one.append(one)
    other.append(other)

    assert not equal(one, other)


def test_the_fields_in_which_rows_differ_are_named():
    row = {"x": torch.tensor([NAN]), "y": 1, "z": "a"}

    assert differing(row, {**row, "x": torch.tensor([NAN]), "y": 2, "z": "b"}) == ["y", "z"]
    assert differing(row, {"x": 1}) == []
    assert differing([1], [2]) == []
