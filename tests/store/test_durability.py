"""What was acknowledged survives the end of the process, however sudden."""

import os
import signal
import subprocess
import sys

import pytest

from rapidfire_cli.store.queries import overview

WRITER = """
import sys
from pathlib import Path
from tests.store.sweep import enrolled, epoch

journal = enrolled(Path(sys.argv[1]), count=1)
for number in range(1, 1_000_000):
    journal.record([epoch(1, number, accuracy=number / 7)])
    print(number, flush=True)
"""


@pytest.mark.parametrize("acknowledged", [1, 7, 60])
def test_nothing_acknowledged_is_lost_by_a_kill(tmp_path, acknowledged):
    path = tmp_path / "journal.db"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        for _ in range(acknowledged):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        heard = [acknowledged, *map(int, process.stdout.read().splitlines())]
    kept = overview(path, alive=False).rows[0]
    assert kept.epoch >= max(heard)
    assert kept.metrics["validation"]["top1_accuracy"] == kept.epoch / 7
