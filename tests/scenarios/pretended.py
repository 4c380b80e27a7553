"""Fits on slots of the CPU that pretend to be GPUs, here or on the nodes of a cluster."""

import subprocess
import sys

from tests.processes.forked import Forked
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

BRIDGE = """\
import sys
from rapidfire_cli.engine.local.slots import Offer
from rapidfire_cli.engine.ports import Slot
from rapidfire_cli.engine.ray import bridge
nodes = sys.argv.pop(1).split(",")
bridge.Offer = lambda cores, visible: Offer(cores, tuple(filter(None, [nodes.pop()])))
bridge.slots = lambda offer, workers, threads: (Slot(0, "cpu", "".join(offer.gpus), 1.0),)
bridge.main()
"""
PRETEND_THERE = f"""\
import runpy, sys
from functools import partial
from rapidfire_cli.engine.ray import backend
bridge = [sys.executable, "-c", {BRIDGE!r}, sys.argv.pop(1)]
backend.RayBackend = partial(backend.RayBackend, bridge=bridge)
sys.argv[0] = "rapidfire"
runpy.run_module("rapidfire_cli", run_name="__main__")
"""


def fit_on_gpus(cli: Cli, gpus: int, *options: str, exits: int = 0) -> str:
    """Fit on this number of GPUs, one slot each; return what it said."""
    fit = Forked(("-c", PRETEND, f"{gpus}", "fit", "experiment.yaml", *options), cli.path, cli.environment)
    _, said = fit.communicate()
    assert fit.returncode == exits, said
    return said


def fit_on_nodes(cli: Cli, gpus: str, *options: str, exits: int = 0) -> str:
    """Fit on a cluster whose nodes have these GPUs, one each or none: `0,0`, or `0,`."""
    command = [sys.executable, "-c", PRETEND_THERE, gpus, "fit", "experiment.yaml", *options]
    done = subprocess.run(
        command, cwd=cli.path, env=cli.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == exits, done.stderr
    return done.stderr
