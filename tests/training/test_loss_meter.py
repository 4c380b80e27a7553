"""The loss of an epoch adds up the same however rarely the losses are read back."""

import pytest
import torch

from rapidfire_cli.training.loss_meter import LossMeter, NotFinite


def filled(stride, values=range(10), fail=True):
    losses = LossMeter("loss", stride, fail)
    for step, value in enumerate(values, start=1):
        losses.add(torch.tensor(value / 3 if step % 2 else [value / 3]), weight=step, step=step)
    return losses


@pytest.mark.parametrize("stride", [2, 3, 32])
def test_it_is_the_same_at_every_stride(stride):
    assert filled(stride).mean() == filled(1).mean()


def test_it_continues_from_its_state_with_nothing_pending_lost():
    whole, before, after = (
        filled(4, [*range(6), *range(6)]),
        filled(4, range(6)),
        LossMeter("loss", 4, fail=True),
    )
    after.restore(before.state())
    for step, value in enumerate(range(6), start=7):
        after.add(torch.tensor(value / 3), weight=step, step=step)

    assert after.mean() == whole.mean()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_is_told_with_its_step_even_late(value):
    losses = filled(32, [1.0, 2.0, value, 4.0])

    with pytest.raises(NotFinite, match=rf"^loss is {value} at step 3$"):
        losses.drain()


def test_it_may_be_asked_to_go_on():
    assert filled(1, [1.0, float("inf")], fail=False).mean() == float("inf")
