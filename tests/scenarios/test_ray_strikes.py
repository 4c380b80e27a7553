"""Whatever dies under a fit on a Ray cluster, the same command ends with the bits of one machine.

A strike comes at a random moment: while nodes join and workers start, or while they train.
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rapidfire_cli.engine.ray.lease import RENEWAL
from tests.engine.ray.clusters import Simulated, can_hide, two_nodes
from tests.scenarios.conftest import Cli
from tests.scenarios.ray_fits import LARGE, Fit, begin, command, ours, project
from tests.scenarios.ray_specs import LOCKS

SEEDS = range(25)  # for each kind of strike, with a shared directory and without
EARLY = 0.25  # of the strikes come before much is trained
START = 6.0  # seconds within which they come, from when the second node has a steward
EPOCHS = 10  # of 16, before which the others come
MARGIN = 2.0  # seconds after the end of a lease

EXITS = {
    "worker killed": {0},
    "steward killed": {0},
    "node killed": {0},
    "node frozen": {0},
    "head killed": {5},
    "GCS killed": {0, 5},  # all may be trained before Ray notices
    "controller killed": {-signal.SIGKILL},
}
"""How the command ends that is struck, by strike."""


@dataclass(frozen=True)
class Trial:
    """The directories of a trial, which the second node sees in part."""

    root: Path
    apart: bool  # whether the project is hidden from the second node
    noticed: int  # seconds after which Ray says that the head is gone

    @property
    def project(self) -> Path:
        return self.root / "hidden" / "project"

    @property
    def environment(self) -> dict[str, str]:
        """What all processes of the trial have."""
        return {
            "RAPIDFIRE_SCRATCH": f"{self.root}/scratch",
            "RAY_gcs_rpc_server_reconnect_timeout_s": str(self.noticed),
            LOCKS: f"{self.root}/locks",
        }

    @property
    def cli(self) -> Cli:
        return Cli(self.project, self.environment)

    @contextmanager
    def cluster(self) -> Iterator[Simulated]:
        with two_nodes(hidden=self.root / "hidden" if self.apart else None, more=self.environment) as found:
            yield found

    def fit(self, cluster: Simulated) -> Fit:
        """The same command, on this cluster."""
        return begin(Cli(self.project, {**self.environment, **cluster.environment}), cluster)


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> tuple[Any, ...]:
    """How the experiment ends on this machine alone."""
    alone = project(tmp_path_factory.mktemp("alone"), text=LARGE)
    alone.run("fit", "experiment.yaml", "--workers", "2")
    return alone.outcome()


def await_moment(under_way: Fit, chance: random.Random) -> bool:
    """Wait for the moment to strike; return whether it may precede the first turn."""
    early = chance.random() < EARLY
    if early:
        while not under_way.stewards(1):
            time.sleep(0.05)
        time.sleep(chance.uniform(0, START))
    else:
        under_way.wait_for_epochs(chance.randint(1, EPOCHS))
        time.sleep(chance.uniform(0, 0.4))
    return early


def strike(under_way: Fit, what: str) -> list[int]:
    """Kill or freeze something of the fit or its cluster; return the workers that must not outlive it."""
    cluster = under_way.cluster
    doomed = under_way.workers(1)
    assert under_way.process.poll() is None, under_way.ended()
    match what:
        case "worker killed":
            while not doomed:
                time.sleep(0.05)
                doomed = under_way.workers(1)
            os.kill(doomed[0], signal.SIGKILL)
        case "steward killed":
            os.kill(under_way.stewards(1)[0], signal.SIGKILL)
        case "node killed":
            cluster.remove(1)
        case "node frozen":
            for pid in (*under_way.stewards(1), *cluster.nodes[1]["pids"]["raylet"]):
                os.kill(pid, signal.SIGSTOP)
        case "head killed":  # with all that runs on the nodes
            doomed += under_way.workers(0)
            cluster.process.kill()
        case "GCS killed":
            doomed = []
            os.kill(cluster.nodes[0]["pids"]["gcs_server"][0], signal.SIGKILL)
        case "controller killed":
            doomed += under_way.workers(0)
            under_way.process.kill()
        case _:
            raise ValueError(what)
    return doomed


def assert_ended(limit: float, alive) -> None:
    """Nothing is `alive` any more within so many seconds."""
    deadline = time.monotonic() + limit
    while left := alive():
        assert time.monotonic() < deadline, [command(pid) for pid in left]
        time.sleep(0.05)


def try_out(trial: Trial, expected: tuple[Any, ...], what: str, chance: random.Random) -> None:
    for name in ("hidden", "scratch", "locks"):
        (trial.root / name).mkdir()
    project(trial.project, text=LARGE)
    with trial.cluster() as cluster:
        under_way = trial.fit(cluster)
        early = await_moment(under_way, chance)
        doomed = strike(under_way, what)
        assert_ended(RENEWAL + MARGIN, lambda: [pid for pid in doomed if command(pid)])
        said = under_way.ended(*EXITS[what], *([5] if early else []))
        assert said.count("error: ") == (under_way.process.returncode == 5), said
        assert_ended(RENEWAL + MARGIN, lambda: ours(trial.root))
        if what == "controller killed":
            trial.fit(cluster).ended()
    if under_way.process.returncode == 5 and chance.random() < 0.5:
        with trial.cluster() as another:
            trial.fit(another).ended()
    trial.cli.run("fit", "experiment.yaml")
    assert trial.cli.outcome() == expected
    assert not (trial.root / "locks" / "clashes").exists(), "two processes trained one run"
    assert ours(trial.root) == []


@pytest.mark.campaign
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("what", EXITS)
def test_whatever_dies_where_nodes_share_no_directory_the_same_command_ends_with_the_same_bits(
    tmp_path, expected, what, seed
):
    if not can_hide():
        pytest.skip("namespaces are not allowed here")
    chance = random.Random(f"{what} {seed}")
    try_out(Trial(tmp_path, apart=True, noticed=chance.choice((2, 12))), expected, what, chance)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("what", EXITS)
def test_whatever_dies_at_any_moment_the_same_command_ends_with_the_same_bits(tmp_path, expected, what, seed):
    chance = random.Random(f"{what} {seed}")
    try_out(Trial(tmp_path, apart=False, noticed=chance.choice((2, 12))), expected, what, chance)
