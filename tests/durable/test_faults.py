"""Every durable call of a run's life fails once, or kills the process once; the run ends with the same bits.

The calls are those that a run really makes: it is trained once under a hook that notes them.
"""

import errno
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rapidfire_cli.durable import faults, publication
from rapidfire_cli.durable.faults import VARIABLE, Fault
from tests.training.workplace import Workplace, leaf, same

ERRORS = ("ENOSPC", "EIO", "EACCES")
SEED, SHARE = 20261124, 12


@contextmanager
def hooked(hook: faults.Hook) -> Iterator[None]:
    faults.hook = hook
    try:
        yield
    finally:
        faults.hook = None


def trained(directory: Path) -> Workplace:
    """The run, trained as far as the disk lets it; checkpoints come often."""
    place = Workplace(directory, "Augmented", checkpoint_every=4)
    place.train(leaf(), until=3)
    return place


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Workplace:
    """The run as it is when nothing goes wrong."""
    return trained(tmp_path_factory.mktemp("whole"))


def calls() -> list[tuple[str, str, int]]:
    """Every durable call of the run: its operation, the file's name, and the how many-th of these it is."""
    from tempfile import TemporaryDirectory

    met: list[tuple[str, str]] = []
    with (
        TemporaryDirectory() as directory,
        hooked(lambda operation, *paths: met.append((operation, paths[0].name))),
    ):
        trained(Path(directory) / "runs")
    names = [(operation, name.replace(str(os.getpid()), "*")) for operation, name in met]
    return [(*name, names[: at + 1].count(name)) for at, name in enumerate(names)]


CALLS = calls()


def share(cases: list) -> list:
    """A seeded share of the cases for every day; the whole is a campaign."""
    chosen = set(random.Random(SEED).sample(range(len(cases)), SHARE))
    return [
        case if at in chosen else pytest.param(*case, marks=pytest.mark.campaign)
        for at, case in enumerate(cases)
    ]


def continued(directory: Path, whole: Workplace) -> None:
    """Every checkpoint is good, and who goes on from here gets the same bits and the same figures."""
    for checkpoint in directory.glob("1/checkpoints/step-*"):
        publication.verify(checkpoint)
    again = trained(directory)
    assert same(again.weights(), whole.weights())
    assert again.epochs() == whole.epochs()


def test_the_calls_are_of_every_kind():
    kinds = {(operation, name) for operation, name, _ in CALLS}
    assert {operation for operation, _ in kinds} == {
        *("make", "open", "write", "sync", "rename", "link", "discard")
    }
    for name in ("state.pt", "model.safetensors", "MANIFEST.json"):
        assert {("write", name), ("sync", name)} <= kinds


@pytest.mark.parametrize(
    ("operation", "name", "occurrence", "error"),
    share([(*call, error) for call in CALLS for error in ERRORS]),
)
def test_a_call_that_fails_pauses_the_run_and_costs_nothing(
    tmp_path, whole, operation, name, occurrence, error
):
    place, armed = tmp_path / "runs", tmp_path / "armed"
    armed.touch()
    with hooked(Fault(operation, name, occurrence, error, armed)):
        stopped = trained(place)
    assert not armed.exists(), "the fault did not strike"
    failure = stopped.failure()
    assert failure.kind == "disk"
    assert failure.cause.startswith(str(place)) and failure.cause.endswith(os.strerror(getattr(errno, error)))
    continued(place, whole)


@pytest.mark.parametrize(("operation", "name", "occurrence"), share(CALLS))
def test_a_process_that_is_killed_at_a_call_loses_nothing(tmp_path, whole, operation, name, occurrence):
    place, armed = tmp_path / "runs", tmp_path / "armed"
    armed.touch()
    if (child := os.fork()) == 0:
        with hooked(Fault(operation, name, occurrence, "kill", armed)):
            trained(place)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    continued(place, whole)
    assert not list(place.rglob(".t*")), "what the dead process was writing is not swept"


def test_a_fault_strikes_once_however_many_processes_inherit_it(tmp_path):
    armed = tmp_path / "armed"
    armed.touch()
    one, other = (Fault("sync", "*.pt", 2, "EIO", armed) for _ in range(2))
    one("sync", Path("a.pt"))
    one("write", Path("a.pt"))
    one("sync", Path("a.txt"))
    with pytest.raises(OSError, match="Input/output error") as raised:
        one("sync", Path("b.pt"))
    assert raised.value.filename == "b.pt"
    for _ in range(3):
        other("sync", Path("a.pt"))


def test_nothing_is_armed_unless_the_environment_says_so(monkeypatch):
    monkeypatch.setattr(faults, "hook", None)
    faults.arm({})
    assert faults.hook is None
    faults.arm({VARIABLE: "rename .tmp-*-step-* 2 kill /some where/armed"})
    assert faults.hook == Fault("rename", ".tmp-*-step-*", 2, "kill", Path("/some where/armed"))
