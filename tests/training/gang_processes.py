"""Processes of tests, one for each rank of a gang."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.shares import WHOLE

ROOT = Path(__file__).parents[2]
LONGEST = 3600 if WHOLE else 600  # seconds, after which a rank waits in vain for the other


def printed_by_ranks(module: str, size: int, home: Path, *args: str) -> list[Any]:
    """What each rank printed last, as JSON; `module` is run with a rank, `home` and the arguments."""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", module, f"{rank}", str(home), *args],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        printed = [rank.communicate(timeout=LONGEST)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0] * size
    return [json.loads(each.splitlines()[-1]) for each in printed]
