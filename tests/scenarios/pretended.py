"""A fit on slots of the CPU that pretend to be GPUs."""

import subprocess
import sys

from tests.scenarios.conftest import Cli

PRETEND = """\
import runpy, sys
from rapidfire_cli.app import workplaces
from rapidfire_cli.engine.ports import Slot
gpus = int(sys.argv.pop(1))
workplaces.seats = lambda file, asked: (tuple(Slot(gpu, "cpu", f"{gpu}", 1.0) for gpu in range(gpus)), 1)
sys.argv[0] = "rapidfire"
runpy.run_module("rapidfire_cli", run_name="__main__")
"""


def fit_on_gpus(cli: Cli, gpus: int, *options: str, exits: int = 0) -> str:
    """Fit on this number of GPUs, one slot each; return what it said."""
    command = [sys.executable, "-c", PRETEND, f"{gpus}", "fit", "experiment.yaml", *options]
    done = subprocess.run(
        command, cwd=cli.path, env=cli.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == exits, done.stderr
    return done.stderr
