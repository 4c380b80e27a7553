"""What holds for every test."""

import compileall
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.shares import EXAMPLES

ROOT = Path(__file__).parents[1]
MEMORY = Path("/dev/shm")
ENOUGH = 2**31  # bytes of it that must be free (measured: two processes' tests hold less than a quarter)

os.environ.pop("GITHUB_STEP_SUMMARY", None)  # what tests train does not belong on the page of a workflow run
settings.register_profile("rapidfire", deadline=None, max_examples=EXAMPLES)  # a busy machine is no failure
settings.load_profile("rapidfire")
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment] # as tests/processes/left_out says
gc.disable()  # while the tests are imported
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # else what tests start under nohup would ignore it, too
signal.signal(signal.SIGINT, signal.default_int_handler)  # as it is ignored in a shell's background


SLOW = (
    *("tests/scenarios/test_documentation.py", "tests/view/page/test_browser.py", "tests/test_catalogue.py"),
    *(
        "tests/campaign",
        "tests/scenarios",
        "tests/templates",
        "tests/training/test_state.py",
        "tests/training",
    ),
    *("tests/engine", "tests/durable", "tests/app", "tests/architecture"),
)
"""Modules, or directories of modules, that take longest: what begins last should be over soon."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with slow modules, so that no process is left with one at the end while the other has nothing."""
    items.sort(
        key=lambda item: next(
            (at for at, place in enumerate(SLOW) if item.nodeid.startswith(place)), len(SLOW)
        )
    )


def pytest_collection_finish() -> None:
    """What was imported is never collected: 700,000 objects, which each full collection would go through."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Nor is what a module's tests have imported: runs are measured between two full collections."""
    yield
    if nextitem is None or item.path != nextitem.path:
        gc.collect()
        gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests' files in memory, where a sync is free; campaigns use the real disk."""
    campaign = config.option.markexpr == "campaign"
    if not campaign and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None
    if not hasattr(config, "workerinput"):  # else each process under test would compile what it imports
        compileall.compile_dir(ROOT / "rapidfire_cli", quiet=2)
    if worker := getattr(config, "workerinput", None):  # of pytest-xdist: a core for each, as tools then see
        if measuring := getattr(config.pluginmanager.getplugin("_cov"), "cov_controller", None):
            measuring.cov.stop()  # it begins anew later, and `no_cover` would end only one of the two
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker["workerid"].removeprefix("gw")) % len(cores)]})
