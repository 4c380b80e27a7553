"""The durable calls of a run's life, found by training it once; and what comes of it when one goes wrong."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from rapidfire_cli.durable import failpoints, publication
from rapidfire_cli.durable.failpoints import Fault
from tests.training.sandbox import TrainingSandbox, leaf, same

ERRORS = ("ENOSPC", "EIO", "EACCES")
Call: TypeAlias = tuple[str, str, int]
"""The operation, the file's name, and the how many-th of these it is."""
Result: TypeAlias = tuple[dict[str, Any], dict[int, Any]]
"""Final weights and the epochs' metrics."""


@contextmanager
def hooked(hook: failpoints.Hook) -> Iterator[None]:
    failpoints.hook = hook
    try:
        yield
    finally:
        failpoints.hook = None


def trained(directory: Path) -> TrainingSandbox:
    """The run, trained as far as the disk lets it; checkpoints come often."""
    place = TrainingSandbox(directory, "Augmented", checkpoint_every=4)
    place.train(leaf(), until=3)
    return place


def undisturbed() -> tuple[list[Call], Result]:
    """Every durable call of the run, and what the run comes to when nothing goes wrong."""
    met: list[tuple[str, str]] = []
    with (
        TemporaryDirectory() as directory,
        hooked(lambda operation, *paths: met.append((operation, paths[0].name))),
    ):
        place = trained(_place(Path(directory)))
        result = place.weights(), place.epochs()
    names = [(operation, name.replace(str(os.getpid()), "*")) for operation, name in met]
    return [(*name, names[: at + 1].count(name)) for at, name in enumerate(names)], result


def _place(directory: Path) -> Path:
    """Where runs go; the directory above is synced, too, and needs the same name each time."""
    (directory / "home").mkdir()
    return directory / "home" / "runs"


def fail(directory: Path, call: Call, error: str, whole: Result) -> None:
    """The call fails once: the run ends with kind `disk` and the place, and goes on without a loss."""
    place, armed = _place(directory), directory / "armed"
    armed.touch()
    with hooked(Fault(*call, error, armed)):
        stopped = trained(place)
    assert not armed.exists(), "the fault did not strike"
    failure = stopped.failure()
    assert failure.kind == "disk", failure
    assert failure.cause.startswith(str(place.parent)), failure.cause
    assert failure.cause.endswith(os.strerror(getattr(errno, error))), failure.cause
    continued(place, whole)


def kill(directory: Path, call: Call, whole: Result) -> None:
    """A process dies at the call: who comes next loses nothing, and sweeps what it was writing."""
    place, armed = _place(directory), directory / "armed"
    armed.touch()
    if (child := os.fork()) == 0:
        with hooked(Fault(*call, failpoints.KILL, armed)):
            trained(place)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == -9, f"the fault did not strike: exit code {code}"
    continued(place, whole)
    assert not list(place.rglob(".t*")), "what the dead process was writing is not swept"


def continued(directory: Path, whole: Result) -> None:
    """Every checkpoint is good, and who goes on from here gets the same bits and the same figures."""
    for checkpoint in directory.glob("1/step-*"):
        publication.verify(checkpoint)
    again = trained(directory)
    assert same(again.weights(), whole[0]), "other weights"
    assert again.epochs() == whole[1], f"{again.epochs()} instead of {whole[1]}"
