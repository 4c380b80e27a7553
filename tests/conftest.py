"""What holds for every test."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

MEMORY = Path("/dev/shm")
ENOUGH = 2**31  # bytes of it that must be free (measured: two processes' tests hold less than a quarter)

settings.register_profile("rapidfire", deadline=None)  # a busy machine is no failure
settings.load_profile("rapidfire")
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # else what tests start under nohup would ignore it, too
signal.signal(signal.SIGINT, signal.default_int_handler)  # as it is ignored in a shell's background


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests' files in memory, where a sync is free; campaigns use the real disk."""
    campaign = config.option.markexpr == "campaign"
    if not campaign and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None
    if worker := getattr(config, "workerinput", None):  # of pytest-xdist: a core for each, as tools then see
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker["workerid"].removeprefix("gw")) % len(cores)]})
