"""A gang trains as one device does, whatever is special about the run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.gang_specs import CASES

ROOT = Path(__file__).parents[2]
TRIED = tuple(CASES)
LONGEST = 600  # seconds, after which a rank waits in vain for the other

pytestmark = pytest.mark.campaign


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, list[list[dict[str, float]]]]:
    """The metrics of each case's epochs, trained by two ranks and by one device."""
    home = tmp_path_factory.mktemp("ranks")
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.gang_rank", f"{rank}", str(home), *TRIED],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        printed, silent = (rank.communicate(timeout=LONGEST)[0] for rank in ranks)
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0]
    assert not any(together for together, _ in json.loads(silent.splitlines()[-1]).values())
    return json.loads(printed.splitlines()[-1])


@pytest.mark.parametrize("case", TRIED)
def test_two_devices_have_the_losses_and_metrics_of_one(trained, case):
    together, alone = trained[case]
    assert len(together) == len(alone) == CASES[case][1]["train"]["epochs"]
    for ours, theirs in zip(together, alone, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
