"""Counts the bytes of tensors that are alive at once, operator by operator.

It sees what PyTorch's dispatcher sees: the operators of the forward and the backward pass and of optimizers,
with real tensors and with fake ones. It does not see what an operator allocates and frees inside.
"""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within its context, `peak` is the most bytes that storages made there occupied at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._known: set[int] = set()  # storages, by the address of their C++ objects

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        self.add(leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor))
        return made

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Count the storages of these tensors until they are freed."""
        for tensor in tensors:
            if tensor.layout is not torch.strided:
                continue
            storage = tensor.untyped_storage()
            if (key := storage._cdata) not in self._known:
                size = storage.nbytes()
                self._known.add(key)
                weakref.finalize(storage, self._free, key, size)
                self._now += size
                self.peak = max(self.peak, self._now)

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._now -= size
