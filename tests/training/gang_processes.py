"""Processes of tests, one for each rank of a gang."""

import json
import os
from pathlib import Path
from typing import Any

from tests.processes.forked import Forked

ROOT = Path(__file__).parents[2]
MODULE = "import runpy, sys; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
STDERR = 2


def printed_by_ranks(module: str, size: int, home: Path, *args: str) -> list[Any]:
    """What each rank printed last, as JSON; `module` is run with a rank, `home` and the arguments."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ranks = [
        Forked(
            ("-c", MODULE, module, f"{rank}", str(home), *args),
            ROOT,
            environment,
            stderr=STDERR,
            compiles=True,
        )
        for rank in range(size)
    ]
    try:
        printed = [rank.communicate()[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0] * size
    return [json.loads(each.splitlines()[-1]) for each in printed]
