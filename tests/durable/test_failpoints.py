"""A durable call of a run's life fails once, or kills the process once; the run ends with the same bits.

The calls are those that a run really makes. A seeded share stands here; the whole is a campaign.
"""

import random
from pathlib import Path

import pytest

from rapidfire_cli.durable import failpoints
from rapidfire_cli.durable.failpoints import VARIABLE, Fault
from tests.durable.calls import ERRORS, Call, Result, fail, kill, undisturbed

SEED, SHARE = 20261124, 6


@pytest.fixture(scope="module")
def run() -> tuple[list[Call], Result]:
    """A run's durable calls and its result; it is not trained where tests are only collected."""
    return undisturbed()


def share(cases: list) -> list:
    return random.Random(SEED).sample(cases, SHARE)


def test_the_calls_are_of_every_kind(run):
    kinds = {(operation, name) for operation, name, _ in run[0]}
    assert {operation for operation, _ in kinds} == {
        *("make", "open", "write", "sync", "rename", "link", "discard")
    }
    for name in ("state.pt", "model.safetensors", "MANIFEST.json"):
        assert {("write", name), ("sync", name)} <= kinds


@pytest.mark.parametrize("case", range(SHARE))
def test_a_call_that_fails_pauses_the_run_and_costs_nothing(tmp_path, run, case):
    calls, whole = run
    call, error = share([(call, error) for call in calls for error in ERRORS])[case]
    print(error, *call)  # which pytest shows if the test fails
    fail(tmp_path, call, error, whole)


@pytest.mark.parametrize("case", range(SHARE))
def test_a_process_that_is_killed_at_a_call_loses_nothing(tmp_path, run, case):
    calls, whole = run
    call = share(calls)[case]
    print(*call)
    kill(tmp_path, call, whole)


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
    monkeypatch.setattr(failpoints, "hook", None)
    failpoints.arm({})
    assert failpoints.hook is None
    failpoints.arm({VARIABLE: "rename .tmp-*-step-* 2 kill /some where/armed"})
    assert failpoints.hook == Fault("rename", ".tmp-*-step-*", 2, "kill", Path("/some where/armed"))
