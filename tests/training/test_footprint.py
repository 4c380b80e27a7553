"""Kept rows hold no more memory than they need, and what they hold is counted."""

import sys

import numpy as np
import pytest
import torch

from rapidfire_cli.training.batches import ALIGNED
from rapidfire_cli.training.equality import equal
from rapidfire_cli.training.footprint import TENSOR, compact, footprint

BASE = torch.arange(100_000, dtype=torch.float32).reshape(100, 1000)


@pytest.mark.parametrize(
    "view",
    [
        BASE[3],
        BASE[3, 1:],
        BASE[:, 7:9].t(),
        BASE[5, ::3],
        BASE[2, 5],
        BASE[4, :0],
        BASE.bfloat16()[9, 3:],
    ],
)
def test_a_view_becomes_a_copy_of_its_own_laid_out_and_aligned_as_before(view):
    copy = compact(view)

    assert equal(copy, view)
    assert copy.stride() == view.stride()
    assert not view.numel() or copy.data_ptr() % ALIGNED == view.data_ptr() % ALIGNED
    assert copy.untyped_storage().nbytes() < BASE.nbytes


@pytest.mark.parametrize(
    "value", [BASE, BASE[:90], BASE[0, :1].expand(5), torch.eye(2).to_sparse(), np.arange(3), "text", [1, 2]]
)
def test_what_needs_its_memory_stays_as_it_is(value):
    assert compact(value) is value


def test_views_inside_of_rows_become_copies_too():
    row = {"pair": (BASE[0], BASE[1]), "nested": {"x": BASE[2]}, "array": np.arange(1000)[:2]}

    copy = compact(row)

    assert equal(copy, row)
    assert footprint(row) > 3 * BASE.nbytes
    assert footprint(copy) < 5 * BASE[0].nbytes
    assert copy["array"].base is None


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (torch.zeros(10), TENSOR + 40),
        (np.zeros(10), sys.getsizeof(np.zeros(10))),
        (np.zeros(10)[:5], sys.getsizeof(np.zeros(10)[:5]) + 40),
        ([1000, 2000], sys.getsizeof([1, 2]) + 2 * 28),
        ({"a": "text"}, sys.getsizeof({"a": 1}) + sys.getsizeof("text")),
    ],
)
def test_pythons_objects_count(value, size):
    assert footprint(value) == size
