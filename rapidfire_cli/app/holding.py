"""What a fit holds while it lasts: the experiment's lock, its prepared rows, and Python's garbage.

Where nothing came of it, nothing is left behind.
"""

import gc
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rapidfire_cli.durable import disk, publication
from rapidfire_cli.durable.lock import lock
from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.layout import ExperimentDir, is_kept, set_aside

COLLECT_AFTER = 100_000  # objects more than were freed (assumed: some ten megabytes)


@contextmanager
def held(home: ExperimentDir) -> Iterator[None]:
    """Hold the experiment's lock. Raises Held or OSError, and then creates nothing.

    Until there is a journal, a refusal takes back what came to be meanwhile; another error does so where that
    is no more than the directory.
    """
    made = disk.make_directory(home.path)
    with ExitStack() as stack:
        locked = home.lock.exists()
        try:
            stack.enter_context(lock(home.lock, f"process {os.getpid()}"))
        except OSError:
            disk.withdraw(made)
            raise
        before = {path for path in home.path.glob("*") if locked or path != home.lock}
        publication.sweep(home.path, alone=True)
        try:
            yield
        except Exception as error:
            new = [path for path in home.path.glob("*") if path not in before]
            if not home.journal.exists() and (isinstance(error, Refusal) or new == [home.lock]):
                _withdraw(new, made)
            raise


def _withdraw(new: Iterable[Path], made: list[Path]) -> None:
    """Delete what is new, and the directories that were `made` for it."""
    with suppress(OSError):
        for path in new:
            if path.is_dir() and not path.is_symlink():
                disk.discard(path)
            else:
                disk.unlink(path)
        disk.withdraw(made)


def start_over(home: ExperimentDir) -> Path | None:
    if not is_kept(home):
        return None
    with held(home):
        aside = set_aside(home)
    print(f"moved {home.path} to {aside}", file=sys.stderr)
    return aside


@contextmanager
def own_rows(home: ExperimentDir) -> Iterator[None]:
    """Delete the prepared rows and meeting places of earlier fits, and afterwards those of this one."""
    for directory in (home.rows, home.gangs):
        with suppress(FileNotFoundError):
            disk.discard(directory)
    try:
        yield
    finally:
        for directory in (home.rows, home.gangs):
            with suppress(OSError):  # the next fit deletes them
                disk.discard(directory)


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Let Python's garbage collector look seldom, and never at what is there already.

    A fit of thousands of runs keeps nearly everything to its end, and makes little garbage in cycles: looking
    for it took a fifth of the controller's CPU.
    """
    usual = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()
