"""torch's compiler, not loaded until somebody compiles: every optimizer imports it, to have it look away.

Measured (torch 2.13, two cores): 1.3 of the 2.7 seconds of processor time in which a worker comes up.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

NAME = "torch._dynamo"

Function = TypeVar("Function", bound=Callable[..., Any])


class Deferred(ModuleType):
    """Stands for torch._dynamo while nothing is compiled; asked for more, it gives way to the real one."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.__spec__ = importlib.util.find_spec(NAME)

    def graph_break(self, msg: str = "") -> None:
        """Outside of compiled code there is no graph to break."""

    def disable(self, fn: Function, recursive: bool = True, **_: object) -> Function:
        """What nobody compiles need not be kept from it."""
        return fn

    def __getattr__(self, name: str) -> Any:
        if (
            name.startswith("__") and name != "__path__"
        ):  # who looks through all modules wants nothing of this
            raise AttributeError(name)
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME]
        return getattr(importlib.import_module(NAME), name)


def defer() -> None:
    """Let torch's compiler wait until it is needed. Call before anything is trained."""
    import torch

    if NAME not in sys.modules:
        sys.modules[NAME] = standing = Deferred()
        setattr(torch, NAME.partition(".")[2], standing)  # as an import does with a submodule
