"""Batches in memory shared by two processes: the raw bytes of tensors and arrays, the rest pickled.

A process that prepares batches writes each into a *segment*: anonymous memory that the reader maps too.
Tensors read from it are views of the segment, so nothing is copied. When the last view is gone, the segment
is reused for another batch. (/dev/shm is not used: in containers it often has only 64 MiB.)
"""

import mmap
import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

ALIGNED = 64  # bytes: the alignment of torch's own tensors; kernels may round differently at others
PAGE = 1 << 16  # bytes: the size of a segment is a multiple of this (assumed)
SPARE = (
    1.25  # batches differ in size: so much larger is a segment than the batch that it is made for (assumed)
)

Span: TypeAlias = tuple[int, int]
"""The begin and the end of a part of a batch in its segment."""
Bytes: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch as pickled objects and the bytes that they refer to."""

    pickled: bytes
    buffers: Sequence[memoryview]

    @property
    def spans(self) -> tuple[Span, ...]:
        """The position of each buffer in a segment, and of the pickled objects last."""
        return tuple(_spans([*map(len, self.buffers), len(self.pickled)]))

    def write(self, segment: mmap.mmap) -> None:
        """Copy everything to its span."""
        target = memoryview(segment)
        parts = [*self.buffers, memoryview(self.pickled)]
        for (begin, end), part in zip(self.spans, parts, strict=True):
            target[begin:end] = part


def packed(batch: Any) -> Packed:
    """Divide a batch into pickled objects and buffers. Raises what pickling it raises."""
    buffers: list[pickle.PickleBuffer] = []
    stream = BytesIO()
    _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(batch)
    return Packed(stream.getvalue(), [buffer.raw() for buffer in buffers])


def message(value: Any) -> bytes:
    """Return the value pickled in one piece, with the bytes of its tensors; `pickle.loads` reads it."""
    stream = BytesIO()
    _Pickler(stream, protocol=5).dump(value)
    return stream.getvalue()


def read(segment: Bytes, spans: Sequence[Span]) -> Any:
    """Read the batch in a segment; its tensors keep `segment` alive."""
    *buffers, pickled = (segment[begin:end] for begin, end in spans)
    return pickle.loads(pickled.tobytes(), buffers=buffers)


class _Pickler(pickle.Pickler):
    """A pickler that leaves out the bytes of tensors, as pickle does with those of arrays."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is Tensor and _is_plain(value):
            data: Any = value.reshape(-1).view(torch.uint8).numpy()
            return _tensor, (pickle.PickleBuffer(data), value.dtype, tuple(value.shape))
        return NotImplemented


def _is_plain(value: Tensor) -> bool:
    plain = value.layout is torch.strided and value.device.type == "cpu" and not value.is_quantized
    views = value.is_conj() or value.is_neg()
    return plain and value.is_contiguous() and not value.requires_grad and not views


def _tensor(data: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    if not len(data):
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype).view(shape)


def _spans(sizes: Sequence[int]) -> Iterator[Span]:
    begin = 0
    for size in sizes:
        yield begin, begin + size
        begin += -(-size // ALIGNED) * ALIGNED


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a batch was written, and how the writer's segments changed."""

    segment: int
    spans: tuple[Span, ...]
    size: int  # bytes of the segment
    descriptor: int | None  # of a segment that is new to the reader, which must close it
    dropped: tuple[int, ...]  # segments that are no longer used


class Segments:
    """The writer's segments. Segments that the reader released are reused if they are large enough."""

    def __init__(self) -> None:
        self._made = 0
        self._all: dict[int, mmap.mmap] = {}
        self._free: set[int] = set()

    def release(self, segments: Sequence[int]) -> None:
        """Mark segments as free, since the reader released them."""
        self._free.update(segments)

    def place(self, batch: Packed) -> Placed:
        """Write a batch to a segment. Raises OSError if there is not enough memory."""
        need = batch.spans[-1][1]
        found = next((each for each in self._free if len(self._all[each]) >= need), None)
        dropped: tuple[int, ...] = ()
        descriptor = None
        if found is None:
            dropped = tuple(self._free)  # too small for this batch, and probably for the next ones
            found, descriptor = self._make(need)
        self._free.difference_update({found, *dropped})
        for each in dropped:
            del self._all[each]
        batch.write(self._all[found])
        return Placed(found, batch.spans, len(self._all[found]), descriptor, dropped)

    def _make(self, need: int) -> tuple[int, int]:
        size = -(-int(need * SPARE) // PAGE) * PAGE
        descriptor = os.memfd_create("batch", os.MFD_CLOEXEC)
        os.posix_fallocate(descriptor, 0, size)  # raises, whereas a later write would kill the process
        self._made += 1
        self._all[self._made] = mmap.mmap(descriptor, size)
        return self._made, descriptor
