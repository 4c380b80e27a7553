"""Fits on a simulated Ray cluster, and which processes they have where."""

import os
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.engine.ray.clusters import Simulated
from tests.scenarios.conftest import Cli, Process

FILE = """\
experiment: tiny
mlspec: shipped:Shipped
execution: {checkpoint_every: 0.2}
gridsearch:
  user_knobs: {pause: 0.02}
  train:
    epochs: 4
    batch_size: !list [16, 32]
    optimizer: {name: Adam, args: {lr: !list [0.01, 0.001]}}
  named_metrics: [top1_accuracy]
"""
SLOW = FILE.replace("pause: 0.02", "pause: 0.1")
LARGE = FILE.replace("pause: 0.02", "pause: 0.1, width: 100000")
"""Its checkpoints travel in several parts."""

SHIPPED = """\
from torch import nn

from tests.scenarios.ray_specs import Guarded

class Shipped(Guarded):
    def create_model(self, cfg):
        width = cfg["user_knobs"].get("width", 16)
        return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, 2))

    def prepare(self, misc_path, data, cfgs):
        (misc_path / "scale").write_text("2")

    def initialize_run(self, misc_path, cfg, mode):
        self.scale = float((misc_path / "scale").read_text())
        print(f"scale {self.scale}")

    def row_prep(self, row, cfg, mode):
        return {**row, "x": row["x"] * self.scale}

    def compute_forward(self, model, batch, cfg):
        if model.training:
            print("one step")
        return super().compute_forward(model, batch, cfg)
"""
"""An MLSpec in the working directory, whose `prepare` makes what all runs need."""


@dataclass
class Fit:
    """A fit on a cluster that is under way."""

    cli: Cli
    cluster: Simulated
    process: Process

    def wait_for_epochs(self, count: int) -> None:
        """Until this many epochs are journaled."""
        journal = self.cli.path / "rapidfire_experiments/tiny/journal.db"
        while self.process.poll() is None:
            with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
                [(found,)] = db.execute("SELECT count(*) FROM events WHERE kind = 'epoch_ended'")
                if found >= count:
                    return
            time.sleep(0.05)
        raise AssertionError(self.process.communicate())

    def hosts(self) -> set[str]:
        """The ends of the names of the nodes that train now."""
        return {run["host"][-6:] for run in self.cli.status()["runs"] if "host" in run}

    def ended(self, *exits: int) -> str:
        """What it said once it has ended as it should."""
        printed, said = self.process.communicate()
        log = self.cli.path / "rapidfire_experiments/tiny/misc/ray.log"
        told = log.read_text() if log.exists() else ""
        assert self.process.returncode in (exits or (0,)), (
            f"{self.process.returncode}\n{printed}\n{said}\n{told}"
        )
        return said

    def stewards(self, node: int) -> list[int]:
        """The process ids of the node's stewards."""
        [raylet] = self.cluster.nodes[node]["pids"]["raylet"]
        return [pid for pid in children(raylet) if b"Steward" in command(pid)]

    def workers(self, node: int) -> list[int]:
        """The process ids of the node's workers."""
        found = [worker for steward in self.stewards(node) for worker in children(steward)]
        return [worker for worker in found if b"rapidfire_cli" in command(worker)]


def begin(cli: Cli, cluster: Simulated) -> Fit:
    """Start a fit of two workers on the cluster."""
    asked = ("fit", "experiment.yaml", "--ray", cluster.address, "--workers", "2")
    return Fit(cli, cluster, cli.start(*asked))


def project(place: Path, cluster: Simulated | None = None, text: str = FILE) -> Cli:
    """An experiment whose MLSpec lies in its directory."""
    place.mkdir(exist_ok=True)
    cli = Cli(place, cluster.environment if cluster else {})
    cli.write(text)
    cli.write(SHIPPED, "shipped.py")
    return cli


def children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(path.parent.name))
    return found


def command(pid: int) -> bytes:
    """How the process was started; empty if it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def ours(*places: Path) -> list[int]:
    """The processes that print into an experiment's directory: its workers and their guardians."""
    found = []
    for path in Path("/proc").glob("[0-9]*/fd/1"):
        with suppress(OSError):
            if any(os.readlink(path).startswith(f"{place.resolve()}/") for place in places):  # noqa: PTH115
                found.append(int(path.parent.parent.name))
    return found


def assert_equal(cli: Cli, expected: dict[str, bytes]) -> None:
    """The bits are those of one machine, and no two processes trained one run."""
    assert cli.weights() == expected
    assert not (cli.path / "clashes").exists()
