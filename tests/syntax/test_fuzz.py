"""Whatever a file holds: no traceback, no crash, no input that takes 3 s or 500 MB."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.syntax.fuzz import ROOT

SHARE = 1500
CAMPAIGN = 1_000_000
PIECE = 20_000  # inputs per process


def survives(seed: int, first: int, count: int, note: Path) -> None:
    """Run the inputs in a process of their own."""
    command = [sys.executable, "-m", "tests.syntax.fuzz", *map(str, (seed, first, count, note))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    index = int.from_bytes(note.read_bytes(), "big")
    assert done.returncode == 0, (
        f"input {index} of seed {seed}: exit {done.returncode}\n{done.stderr[-3000:]}"
    )


def test_a_seeded_share_of_mutated_files(tmp_path: Path):
    survives(1, 0, SHARE, tmp_path / "note")


@pytest.mark.campaign
def test_a_million_mutated_files(tmp_path: Path):
    pieces = range(0, CAMPAIGN, PIECE)
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(lambda first: survives(2, first, PIECE, tmp_path / f"{first}"), pieces):
            pass
