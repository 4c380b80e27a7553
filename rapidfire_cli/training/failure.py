"""Why a run cannot go on, in one line."""

import traceback

import torch


class Failure(Exception):  # noqa: N818 - what became of the run
    """The run cannot go on; `kind` is one of error, nan, oom, checkpoint, disk; `cause` is one line."""

    def __init__(self, kind: str, cause: str, traceback: str = "") -> None:
        super().__init__(cause)
        self.kind = kind
        self.cause = cause
        self.traceback = traceback


def blamed(error: BaseException) -> Failure:
    """What user code or torch raised, SystemExit included, as the run's failure; the traceback is printed."""
    if isinstance(error, Failure):
        return error
    traceback.print_exception(error)
    kind = "oom" if _starved(error) else "error"
    return Failure(kind, one_line(error), "".join(traceback.format_exception(error)))


def _starved(error: BaseException) -> bool:
    """Whether no memory was left; on the CPU torch has no class of its own for that."""
    said = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return said or isinstance(error, torch.OutOfMemoryError | MemoryError)


def one_line(error: BaseException) -> str:
    """The error's type and the first line of what it says."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
