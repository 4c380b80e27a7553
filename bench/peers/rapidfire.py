"""Ours: the command line, an experiment file, and what the journal says afterwards."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.work import PROCESSES, Figures, Outcome, Work, key

ROOT = Path(__file__).parents[2]
PHASE = """
    SELECT (SELECT max(ended) FROM turns) - (SELECT avg(at) FROM events WHERE kind = 'worker_started')"""
FIGURES = (
    "SELECT config, value FROM metrics JOIN runs ON run = number ORDER BY number, metrics.epoch, split, name"
)


def contend(work: Work, where: Sequence[str] = ("--gpus", "0")) -> Outcome:
    """Train on the CPU with two workers; each one's training phase begins when it is up.

    They end together, with the last turn, so the mean of their phases compares with a pool whose processes
    part when everything is imported.
    """
    with TemporaryDirectory() as folder:
        file = Path(folder, "sweep.yaml")
        file.write_text(work.file, encoding="utf-8")
        options = ["--dir", folder, "--workers", str(PROCESSES), "--threads", "1", *where]
        command = [sys.executable, "-m", "rapidfire_cli", "fit", str(file), *options]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with closing(sqlite3.connect(Path(folder, "sweep", "journal.db"))) as journal:
            (seconds,) = journal.execute(PHASE).fetchone()
            return Outcome(seconds, _figures(journal))


def _figures(journal: sqlite3.Connection) -> dict[str, Figures]:
    found: dict[str, Figures] = {}
    for config, value in journal.execute(FIGURES):
        found.setdefault(key(json.loads(config)), []).append(value)
    return found
