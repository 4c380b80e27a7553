"""Copy batches to a GPU beside its computations."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data._utils.pin_memory import pin_memory

from rapidfire_cli.training.batches import moved
from rapidfire_cli.training.model_state import tensors_in


def uploaded(batches: Iterable[Any], device: torch.device) -> Iterator[Any]:
    """The batches on the device.

    A GPU copies them from pinned memory on a stream of its own, so that the copy of a batch and the
    computations on the one before overlap: the process queues work ahead of the GPU.
    """
    if device.type == "cpu":
        yield from batches
        return
    beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    for batch in batches:
        with torch.cuda.stream(beside):
            there = moved(pin_memory(batch), device)  # type: ignore[no-untyped-call]
        current = torch.cuda.current_stream(device)
        current.wait_stream(beside)
        for tensor in tensors_in(there):
            tensor.record_stream(current)  # its memory must not be used again before `current` is done
        yield there
