"""Defer loading torch's compiler until code is compiled.

Every optimizer imports the compiler, only to exclude itself from compilation. Measured (torch 2.13, two
cores): the import takes 1.3 of the 2.7 seconds of processor time that a worker needs to start.
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
    """A placeholder for torch._dynamo; any access beyond these two functions loads the real module."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.__spec__ = importlib.util.find_spec(NAME)

    def graph_break(self, msg: str = "") -> None:
        """Do nothing: outside compiled code there is no graph to break."""

    def disable(self, fn: Function, recursive: bool = True, **_: object) -> Function:
        """Return the function itself: nothing is compiled, so nothing must be excluded."""
        return fn

    def __getattr__(self, name: str) -> Any:
        if (
            name.startswith("__") and name != "__path__"
        ):  # code that inspects all modules must not load the compiler
            raise AttributeError(name)
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME]
        return getattr(importlib.import_module(NAME), name)


def defer() -> None:
    """Put the placeholder in place of torch's compiler. Call before anything is trained."""
    import torch

    if NAME not in sys.modules:
        sys.modules[NAME] = standing = Deferred()
        setattr(torch, NAME.partition(".")[2], standing)  # as an import does with a submodule
