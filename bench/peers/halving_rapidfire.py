"""Ours: the command line, and the ranking that it prints."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.halving import Found, Search
from bench.work import DIGITS, PROCESSES, SEED

ROOT = Path(__file__).parents[2]


def contend(search: Search) -> Found:
    """Each rung waits for all its runs."""
    return _fitted(search.file)


def asynchronous(search: Search) -> Found:
    """Runs go on without waiting."""
    return _fitted(search.file, "--set", "+mode=async")


def uncut(search: Search) -> Found:
    """Every configuration trained to the end."""
    groups = [{"config": leaf} for leaf in search.leaves]
    with TemporaryDirectory() as folder:
        path = Path(folder, "uncut.json")
        path.write_text(
            json.dumps({"mlspec": DIGITS.mlspec, "seed": SEED, "config_group": groups}), encoding="utf-8"
        )
        return _fitted(str(path))


def _fitted(file: str, *changes: str) -> Found:
    with TemporaryDirectory() as folder:
        options = ["--dir", folder, "--workers", str(PROCESSES), "--threads", "1", "--gpus", "0"]
        command = [sys.executable, "-m", "rapidfire_cli", "fit", file, "--output", "json", *options, *changes]
        done = subprocess.run(
            command, check=True, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    runs = sorted(json.loads(done.stdout)["runs"], key=lambda run: run["number"])
    return Found(
        [run["epoch"] for run in runs], [run["metrics"]["validation"]["top1_accuracy"] for run in runs]
    )
