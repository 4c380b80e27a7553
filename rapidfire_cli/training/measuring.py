"""How much memory a run needs to train, measured by training two steps of it and validating one batch.

The one part that depends on the device is a Meter: what it takes for the most memory in use.
"""

import gc
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Protocol

import torch

from rapidfire_cli.engine.messages import Assignment, Memory, Peak
from rapidfire_cli.terms import VALIDATION
from rapidfire_cli.training import memory
from rapidfire_cli.training.failure import blamed
from rapidfire_cli.training.live_bytes import LiveBytes
from rapidfire_cli.training.live_run import LiveRun
from rapidfire_cli.training.loop import Mark, train, validate
from rapidfire_cli.training.opening import Shared, opened

STEPS = 2  # the first one makes the optimizer's state, the second one has it beside the activations


class Meter(Protocol):
    """Measures the memory of tensors on a device."""

    peak: int  # bytes: the most in use at once while it last measured

    def measuring(self) -> AbstractContextManager[None]:
        """Measure what happens in the context; what was allocated before may count, too."""

    def memory(self) -> Memory:
        """The memory of the device, while no run occupies any."""


class CudaMeter:
    """What torch's caching allocator reserved, fragmentation included."""

    def __init__(self) -> None:
        self.peak = 0

    @contextmanager
    def measuring(self) -> Iterator[None]:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        yield
        torch.cuda.synchronize()
        self.peak = torch.cuda.max_memory_reserved()

    def memory(self) -> Memory:
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info()
        return Memory(total, total - free - torch.cuda.memory_reserved())


class HostMeter:
    """What operators on the CPU allocate, and the memory of this machine."""

    def __init__(self) -> None:
        self.peak = 0

    @contextmanager
    def measuring(self) -> Iterator[None]:
        with LiveBytes() as live:
            yield
        self.peak = live.peak

    def memory(self) -> Memory:
        total = memory.total()
        return Memory(total, max(0, total - memory.free()))


def meter(device: torch.device) -> Meter:
    """The meter of a device."""
    return CudaMeter() if device.type == "cuda" else HostMeter()


def measure(assignment: Assignment, shared: Shared, meter: Meter) -> Peak:
    """Measure a run; errors of user code are in the answer."""
    try:
        with TemporaryDirectory() as directory:
            rest = _measured(replace(assignment, directory=directory), shared, meter)
    except BaseException as error:
        return Peak(assignment.run, failed=blamed(error).cause)
    finally:
        gc.collect()
    return Peak(assignment.run, meter.peak, rest)


def _measured(assignment: Assignment, shared: Shared, meter: Meter) -> int:
    """Train and validate the run a little; return the bytes that it keeps while it waits."""
    with meter.measuring():
        run = opened(assignment, shared)
        run.enter()
        ends_inside_an_epoch = _trained(run)
        if ends_inside_an_epoch and VALIDATION in run.batch_sources:
            next(validate(run), None)
        run.leave()
    shared.rows.release(assignment.run)
    return run.size


def _trained(run: LiveRun) -> bool:
    """Train STEPS steps, or to the end of the epoch; whether a step was the last mark."""
    steps, mark = 0, Mark.EPOCH
    for mark in train(run):
        steps += mark is Mark.STEP
        if steps == STEPS:
            break
    return mark is Mark.STEP
