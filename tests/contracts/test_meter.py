"""What every Meter must do: on the CPU, and on a GPU where there is one."""

import pytest
import torch

from rapidfire_cli.training.measuring import CudaMeter, HostMeter, Meter

MIB = 2**20
SLACK = 32 * MIB  # what a caching allocator may reserve beyond what was asked for


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch finds no GPU that it can use")
    return torch.device(request.param)


@pytest.fixture
def meter(device: torch.device) -> Meter:
    return CudaMeter() if device.type == "cuda" else HostMeter()


def test_the_peak_is_the_most_that_was_in_use_at_once(meter, device):
    with meter.measuring():
        for size in (10 * MIB, 100 * MIB, 50 * MIB):
            kept = torch.zeros(size, dtype=torch.uint8, device=device)
            del kept
    assert 100 * MIB <= meter.peak <= 100 * MIB + SLACK


def test_the_gradient_and_what_the_backward_pass_needs_are_counted(meter, device):
    with meter.measuring():
        weight = torch.ones(16 * MIB // 4, device=device, requires_grad=True)
        (weight.exp() * 2).sum().backward()
    assert 48 * MIB <= meter.peak <= 96 * MIB + SLACK


def test_an_earlier_peak_does_not_count(meter, device):
    with meter.measuring():
        torch.zeros(100 * MIB, dtype=torch.uint8, device=device)
    with meter.measuring():
        torch.zeros(10 * MIB, dtype=torch.uint8, device=device)
    assert 10 * MIB <= meter.peak <= 10 * MIB + SLACK


def test_views_are_counted_once(meter, device):
    with meter.measuring():
        base = torch.zeros(100, MIB, dtype=torch.uint8, device=device)
        parts = [base[:50], base.view(-1), base.t()]
    assert len(parts) == 3 and meter.peak <= 100 * MIB + SLACK


def test_a_device_has_more_memory_than_is_used_on_it(meter):
    assert 0 <= meter.memory().used < meter.memory().total
