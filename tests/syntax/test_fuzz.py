"""Whatever a file holds: no traceback, no crash, no input that takes 3 s or 500 MB."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import pytest

from tests.syntax.fuzz import ROOT

SHARE = 1500
CAMPAIGN = 1_000_000
PIECE = 20_000  # inputs per process


def falls(seed: int, first: int, count: int, note: Path) -> Iterator[str]:
    """What inputs do to processes of their own; each begins behind the input that ended the one before."""
    left, end = first, first + count
    while left < end:
        command = [sys.executable, "-m", "tests.syntax.fuzz", *map(str, (seed, left, end - left, note))]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        index = int.from_bytes(note.read_bytes(), "big")
        yield f"input {index} of seed {seed}: exit {done.returncode}\n{done.stderr[-3000:]}"
        left = index + 1


def test_a_seeded_share_of_mutated_files(tmp_path: Path):
    assert not list(falls(1, 0, SHARE, tmp_path / "note"))


@pytest.mark.campaign
def test_a_million_mutated_files(tmp_path: Path):
    pieces = range(0, CAMPAIGN, PIECE)
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda first: list(falls(2, first, PIECE, tmp_path / f"{first}")), pieces)
        assert not list(chain.from_iterable(found))
