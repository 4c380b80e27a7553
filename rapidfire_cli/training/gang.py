"""A gang as one of its processes sees it: what the processes that train one run together tell each other.

Theory of operation. Every rank opens the run, with the same seeds, and does what a run on one device does,
with its share of each batch (`training/share.py`). Three things make them one. `agree`: at each mark of the
training loop, rank 0 decides what to do next, and the others learn it from one byte in a pipe. `exchange`:
every rank receives what each one has read from its part of a batch, and adds all of it to its metrics, in the
order of rows; so losses, metrics and all that follows from them are the same on every rank, and those of one
device. `total`: gradients are summed. Everything else (the optimizer's step, the learning rate, the best
epoch) then happens on every rank alike.

The processes find each other by a file in a directory that only this user can read, and talk over the
loopback interface, to which every user of the machine can connect. So a message that is unpickled carries a
digest, made with a key from that file, and `exchange` reads no other. The pipes are those of rank 0's
process, which only this user can open. torch's default process group is not used: libraries that look for
one (torchmetrics, transformers) would wait for ranks that do not call them.

Invariants:

- Every rank makes the same calls in the same order. Rank 0 alone decides what depends on a clock, a file or a
  request.
- A rank that ends is found by its process descriptor, not by what a broken connection looks like. The user's
  code is never blamed for it: `Lost` is not a failure of the run.

No call here times out: what hangs is found by the controller, which ends the gang.
"""

import hmac
import os
import pickle
import secrets
import select
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
import torch.distributed
from torch import Tensor

from rapidfire_cli.durable import disk
from rapidfire_cli.engine.messages import Rank
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.share import Share
from rapidfire_cli.training.shared_batches import message

LOOPBACK: Final = "127.0.0.1"
FOREVER: Final = timedelta(days=365)
BUCKET: Final = 2**25  # bytes of gradients that are summed at once (assumed; DistributedDataParallel's 25 MB)
ROOM: Final = 2**12  # bytes of a message of each rank, at first (assumed: losses and weights of some batches)
SIZE: Final = 8  # bytes: the size of a message
DIGEST: Final = 16  # bytes: what shows that a rank of this gang wrote it
HEADER: Final = SIZE + DIGEST
PATIENCE: Final = 1.0  # seconds in which a rank that ended is found after a connection broke (assumed)

Value = TypeVar("Value")

dist: Any = torch.distributed  # its stores and process groups have no annotations


class Lost(Failure):
    """The gang cannot go on, because a rank cannot be reached; not a failure of the run."""

    def __init__(self, cause: str) -> None:
        super().__init__("gang", cause)


class Gang:
    """The processes that train one run together, seen by one of them."""

    def __init__(self, place: Rank, directory: Path, device: torch.device) -> None:
        """Meet the others, waiting for them. Raises Lost."""
        self.name = place.gang
        self.share = Share(place.rank, place.size)
        self.filling = Share(place.rank, place.size, fills=True)  # of runs that are sharded
        self._device = device
        self._device_mesh: Any = None
        self._room = ROOM
        disk.make_private(directory)
        store = dist.FileStore(str(directory / place.gang), place.size)
        self._pipes = [os.pipe() for _ in range(1, self.share.size)] if self.share.leads else []
        self._peers, self._key, self._heard = self._met(store)
        with self._reaching():
            self._words = _gloo(dist.PrefixStore("words", store), self.share)  # once the others opened pipes
            for read, _ in self._pipes:
                os.close(read)
            self._sums = (
                self._words if device.type == "cpu" else _nccl(dist.PrefixStore("sums", store), self.share)
            )

    def agree(self, decision: int) -> int:
        """Return rank 0's decision, a byte. Raises Lost."""
        if self._heard is not None:
            if not (heard := os.read(self._heard, 1)):
                raise Lost("rank 0 ended")
            return heard[0]
        with self._reaching():
            for _, write in self._pipes:
                os.write(write, bytes((decision,)))
        return decision

    def exchange(self, value: Value) -> list[Value]:
        """Return every rank's value, by rank; tensors must be on the CPU. Raises Lost.

        Usually in one round: there is room for a message as large as the largest so far.
        """
        own = message(value)
        received = self._round(own)
        if (most := max(map(_size, received))) > self._room:
            self._room = 1 << (most - 1).bit_length()
            received = self._round(own)
        return [pickle.loads(self._authentic(each)) for each in received]

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Give each tensor the values that it has on rank 0."""
        with self._reaching():
            for tensor in tensors:
                self._sums.broadcast(tensor, 0).wait()

    def total(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all ranks; in place, with the same bits on every rank."""
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            with self._reaching():
                self._sums.allreduce([flat]).wait()
            for tensor, part in zip(
                bucket, torch.split(flat, [each.numel() for each in bucket]), strict=True
            ):
                tensor.copy_(part.view_as(tensor))

    def mesh(self) -> Any:
        """Return the mesh over which torch shards a model; every rank calls this. Loads torch's sharding."""
        return self._joined()[0]

    def group(self) -> Any:
        """Return the process group for torch's own functions; every rank calls this. Loads as `mesh` does."""
        return self._joined()[1]

    def _joined(self) -> Any:
        if self._device_mesh is None:
            from rapidfire_cli.training.mesh import joined

            name = f"gang {self.name}"
            self._device_mesh = joined(name, self.share, self._device, self._sums)
        return self._device_mesh

    def has_lost(self, within: float = 0.0) -> bool:
        """Whether the process of another rank has ended, or does within so many seconds."""
        return bool(select.select(self._peers, [], [], within)[0])

    def close(self) -> None:
        """Let go of the others."""
        heard = [] if self._heard is None else [self._heard]
        for each in (*self._peers, *(write for _, write in self._pipes), *heard):
            os.close(each)
        self._peers, self._pipes, self._heard = [], [], None
        if self._device_mesh:
            from rapidfire_cli.training.mesh import parted

            parted(self._device_mesh[1])
            self._device_mesh = None

    def _met(self, store: Any) -> tuple[list[int], bytes, int | None]:
        """Return a descriptor of each other rank's process, the key of this gang, and rank 0's pipe to this
        rank.
        """
        if self.share.leads:
            store.set("key", secrets.token_hex())
            for rank, (read, _) in enumerate(self._pipes, 1):
                store.set(f"pipe {rank}", f"/proc/{os.getpid()}/fd/{read}")
        store.set(f"process {self.share.rank}", f"{os.getpid()}")
        others = [rank for rank in range(self.share.size) if rank != self.share.rank]
        try:
            store.set_timeout(FOREVER)
            key = store.get("key")
            peers = [os.pidfd_open(int(store.get(f"process {rank}"))) for rank in others]
            if self.share.leads:
                return peers, key, None
            return peers, key, os.open(store.get(f"pipe {self.share.rank}"), os.O_RDONLY | os.O_CLOEXEC)
        except (RuntimeError, OSError) as error:
            raise Lost(f"the ranks of the gang did not meet: {error}") from error

    def _round(self, own: bytes) -> list[memoryview]:
        """Send this rank's message, or its size if there is no room for it, and return everybody's."""
        sent = torch.zeros(HEADER + self._room, dtype=torch.uint8)
        area = memoryview(sent.numpy())  # type: ignore[arg-type]
        area[:SIZE] = len(own).to_bytes(SIZE, "little")
        if len(own) <= self._room:
            area[SIZE:HEADER] = self._digest(own)
            area[HEADER : HEADER + len(own)] = own
        received = [torch.empty_like(sent) for _ in range(self.share.size)]
        with self._reaching():
            self._words.allgather([received], [sent]).wait()
        return [memoryview(each.numpy()) for each in received]  # type: ignore[arg-type]

    def _digest(self, message: bytes | memoryview) -> bytes:
        return blake2b(message, key=self._key, digest_size=DIGEST).digest()

    def _authentic(self, received: memoryview) -> memoryview:
        """Return the message, if a rank of this gang wrote it. Raises Lost."""
        message = received[HEADER : HEADER + _size(received)]
        if not hmac.compare_digest(self._digest(message), received[SIZE:HEADER]):
            raise Lost("received a message that no rank of the gang wrote")
        return message

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn what a broken connection raises into Lost."""
        try:
            yield
        except (RuntimeError, OSError) as error:
            raise Lost(f"{error}".strip().splitlines()[0]) from error


@contextmanager
def as_default(group: Any) -> Iterator[None]:
    """Make the group torch's default process group during the block, in which no code of users may run."""
    dist.group.WORLD = group
    try:
        yield
    finally:
        dist.group.WORLD = None


def _size(message: memoryview) -> int:
    return int.from_bytes(message[:SIZE], "little")


def _gloo(store: Any, share: Share) -> Any:
    options = dist.ProcessGroupGloo._Options()
    options._devices = [dist.ProcessGroupGloo.create_device(hostname=LOOPBACK)]
    options._timeout = FOREVER
    return dist.ProcessGroupGloo(store, share.rank, share.size, options)


def _nccl(store: Any, share: Share) -> Any:
    options = dist.ProcessGroupNCCL.Options()
    options._timeout = FOREVER
    return dist.ProcessGroupNCCL(store, share.rank, share.size, options)


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Divide tensors, in order, into lists of one dtype and of about BUCKET bytes."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and (tensor.dtype is not bucket[0].dtype or size + tensor.nbytes > BUCKET):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.nbytes
    if bucket:
        yield bucket
