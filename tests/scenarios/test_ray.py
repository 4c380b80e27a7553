"""`fit --ray` trains on the nodes of a Ray cluster, to the bits of one machine, whatever dies."""

import os
import random
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from rapidfire_cli.engine.ray.lease import RENEWAL, SILENCE
from tests.engine.ray.clusters import OPEN, Simulated, can_hide, two_nodes
from tests.scenarios.conftest import Cli

FILE = """\
experiment: tiny
mlspec: tests.scenarios.ray_specs:Guarded
execution: {checkpoint_every: 0.2}
gridsearch:
  user_knobs: {pause: 0.02}
  train:
    epochs: 4
    batch_size: !list [16, 32]
    optimizer: {name: Adam, args: {lr: !list [0.01, 0.001]}}
  named_metrics: [top1_accuracy]
"""


SHIPPED = """\
from tests.scenarios.ray_specs import Guarded

class Shipped(Guarded):
    def prepare(self, misc_path, data, cfgs):
        (misc_path / "scale").write_text("2")

    def initialize_run(self, misc_path, cfg, mode):
        self.scale = float((misc_path / "scale").read_text())
        print(f"scale {self.scale}")

    def row_prep(self, row, cfg, mode):
        return {**row, "x": row["x"] * self.scale}
"""
"""An MLSpec in the working directory, whose `prepare` makes what all runs need."""


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict[str, bytes]:
    """The weights by run, trained on this machine alone."""
    cli = Cli(tmp_path_factory.mktemp("local"))
    cli.write(FILE)
    cli.run("fit", "experiment.yaml", "--workers", "1")
    return cli.weights()


@pytest.fixture(scope="module")
def hidden(tmp_path_factory) -> Path | None:
    """A directory that the second node of the cluster does not see."""
    return Path(tmp_path_factory.mktemp("hidden")) if can_hide() else None


@pytest.fixture(scope="module")
def cluster(hidden) -> Iterator[Simulated]:
    with two_nodes(hidden=hidden) as simulated:
        yield simulated


@dataclass
class Fit:
    """A fit on a cluster that is under way."""

    cli: Cli
    cluster: Simulated
    process: "subprocess.Popen[str]"

    def wait_for_epochs(self, count: int) -> None:
        """Until this many epochs are journaled."""
        while self.process.poll() is None:
            with suppress(AssertionError, KeyError):
                if sum(run["epoch"] for run in self.cli.status()["runs"]) >= count:
                    return
            time.sleep(0.05)
        raise AssertionError(self.process.communicate())

    def hosts(self) -> set[str]:
        """The ends of the names of the nodes that train now."""
        return {run["host"][-6:] for run in self.cli.status()["runs"] if "host" in run}

    def ended(self, exits: int = 0) -> str:
        """What it said once it has ended as it should."""
        printed, said = self.process.communicate()
        log = (self.cli.path / "rapidfire_experiments/tiny/misc/ray.log").read_text()
        assert self.process.returncode == exits, f"{self.process.returncode}\n{printed}\n{said}\n{log}"
        return said

    def stewards(self, node: int) -> list[int]:
        """The process ids of the node's stewards."""
        [raylet] = self.cluster.nodes[node]["pids"]["raylet"]
        return [pid for pid in children(raylet) if b"Steward" in command(pid)]

    def workers(self, node: int) -> list[int]:
        """The process ids of the node's workers."""
        return [worker for steward in self.stewards(node) for worker in children(steward)]


def fit(place: Path, cluster: Simulated, text: str = FILE) -> Fit:
    cli = Cli(place, cluster.environment)
    cli.write(text)
    asked = ("fit", "experiment.yaml", "--ray", cluster.address, "--workers", "2")
    return Fit(cli, cluster, cli.start(*asked, anew=True))


def children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(path.parent.name))
    return found


def command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def ours(place: Path) -> list[int]:
    """The processes that print into the experiment's directory: its workers and their guardians."""
    found = []
    for path in Path("/proc").glob("[0-9]*/fd/1"):
        with suppress(OSError):
            if os.readlink(path).startswith(f"{place.resolve()}/"):  # noqa: PTH115
                found.append(int(path.parent.parent.name))
    return found


def assert_equal(cli: Cli, expected: dict[str, bytes]) -> None:
    """The bits are those of one machine, and no two processes trained one run."""
    assert cli.weights() == expected
    assert not (cli.path / "clashes").exists()


def test_runs_on_two_nodes_have_the_bits_of_one_machine_and_status_says_where_they_train(
    tmp_path, cluster, expected
):
    under_way = fit(tmp_path, cluster)
    under_way.wait_for_epochs(2)
    assert len(under_way.workers(0)) == len(under_way.workers(1)) == 1
    assert under_way.hosts() <= {node["id"][:6] for node in cluster.nodes}
    assert "2 workers on 2 nodes" in under_way.ended()
    assert_equal(under_way.cli, expected)
    assert ours(tmp_path) == []
    assert not (tmp_path / "rapidfire_experiments/tiny/cluster").exists()


@pytest.mark.campaign
def test_a_killed_worker_is_replaced(tmp_path, cluster, expected):
    under_way = fit(tmp_path, cluster)
    under_way.wait_for_epochs(2)
    os.kill(under_way.workers(1)[0], signal.SIGKILL)
    under_way.ended()
    assert_equal(under_way.cli, expected)


def test_the_runs_of_a_frozen_node_continue_elsewhere_once_its_workers_must_have_ended(
    tmp_path, cluster, expected
):
    under_way = fit(tmp_path, cluster)
    under_way.wait_for_epochs(2)
    [raylet] = cluster.nodes[1]["pids"]["raylet"]
    frozen = [*under_way.stewards(1), raylet]
    workers = under_way.workers(1)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    while any(map(command, workers)):  # their guardians are not frozen
        assert time.monotonic() < begun + RENEWAL + 2
        time.sleep(0.1)
    under_way.ended()
    os.kill(raylet, signal.SIGCONT)
    assert_equal(under_way.cli, expected)
    assert ours(tmp_path) == []


@pytest.mark.campaign
def test_runs_leave_a_node_that_is_about_to_go_and_use_one_that_joins_late(tmp_path, expected):
    with two_nodes() as cluster:
        under_way = fit(tmp_path, cluster, FILE.replace("pause: 0.02", "pause: 0.3"))
        under_way.wait_for_epochs(1)
        cluster.drain(1)
        cluster.add()
        _, leaving, late = (node["id"][:6] for node in cluster.nodes)
        while late not in (hosts := under_way.hosts()):
            assert under_way.process.poll() is None
            time.sleep(0.1)
        assert leaving not in hosts
        said = under_way.ended()
    assert "died" not in said
    assert sorted(under_way.cli.weights().values()) == sorted(expected.values())


@pytest.mark.campaign
def test_a_run_of_two_devices_trains_within_a_node_and_one_of_three_is_refused(tmp_path, cluster):
    gangs = FILE.replace("ray_specs:Guarded", "specs:Tiny").replace("epochs: 4", "epochs: 2\n    gpus: 2")
    here = Cli(tmp_path / "here", {})
    here.path.mkdir()
    here.write(gangs)
    here.run("fit", "experiment.yaml", "--workers", "2")
    there = Cli(tmp_path, cluster.environment)
    there.write(gangs)
    there.run("fit", "experiment.yaml", "--ray", cluster.address, "--workers", "4")
    assert there.weights() == here.weights() and len(here.weights()) == 4
    there.write(gangs.replace("gpus: 2", "gpus: 3"))
    said = there.run("fit", "experiment.yaml", "--ray", cluster.address, "--workers", "4", exits=2).stderr
    assert "error[E519]" in said and "(2 workers on the CPU on one node)" in said


@pytest.mark.campaign
def test_a_killed_controller_leaves_no_worker_and_the_same_command_continues_here(
    tmp_path, cluster, expected
):
    under_way = fit(tmp_path, cluster)
    under_way.wait_for_epochs(2)
    under_way.process.kill()
    under_way.process.communicate()
    killed = time.monotonic()
    while ours(tmp_path):
        assert time.monotonic() < killed + 2 * RENEWAL + 2
        time.sleep(0.1)
    said = under_way.cli.run("fit", "experiment.yaml").stderr
    assert f"waiting {SILENCE:.0f} seconds" in said
    assert_equal(under_way.cli, expected)


@pytest.mark.campaign
def test_a_lost_node_is_no_crash_and_a_lost_cluster_ends_the_fit_with_one_line(tmp_path, expected):
    with two_nodes() as cluster:
        under_way = fit(tmp_path, cluster)
        under_way.wait_for_epochs(2)
        cluster.remove(1)
        under_way.wait_for_epochs(6)
        cluster.process.kill()  # and the head with it
        said = under_way.ended(exits=5)
    assert "error: the connection to the Ray cluster has ended" in said
    under_way.cli.run("fit", "experiment.yaml")
    assert_equal(under_way.cli, expected)


@pytest.mark.campaign
def test_a_cluster_that_lets_anyone_in_is_refused_unless_that_is_accepted(tmp_path, expected):
    with two_nodes(protected=False) as cluster:
        refused = fit(tmp_path, cluster)
        assert "lets anyone on its network run code" in refused.ended(exits=5)
        accepted = ("fit", "experiment.yaml", "--ray", cluster.address, "--insecure", "--workers", "2")
        refused.cli.run(*accepted)
    assert_equal(refused.cli, expected)


def test_a_wrong_token_and_none_are_one_line_each_and_leave_no_trace(tmp_path, cluster):
    (empty := tmp_path / "token").touch()
    for without, problem in (
        ({"RAY_AUTH_TOKEN": "another"}, "does not accept the token"),
        (OPEN, "asks for a token"),
        ({"RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": str(empty)}, f"{empty} is empty"),
    ):
        cli = Cli(tmp_path, {**cluster.environment, **without})
        cli.write(FILE)
        said = cli.run("fit", "experiment.yaml", "--ray", cluster.address, exits=5).stderr
        assert problem in said and "saved progress" not in said and "a killed fit" not in said
        assert not (tmp_path / "rapidfire_experiments/tiny/cluster").exists()


@pytest.mark.campaign
def test_what_devices_a_cluster_cannot_offer_is_one_line_each(tmp_path, cluster):
    for asked, problem in (
        (("--gpus", "1"), "error: 1 GPU requested, but the nodes of the Ray cluster have 0"),
        (("--runs-per-gpu", "auto"), "error: `--runs-per-gpu`: `auto` is not available on a Ray cluster"),
    ):
        cli = Cli(tmp_path, cluster.environment)
        cli.write(FILE)
        said = cli.run("fit", "experiment.yaml", "--ray", cluster.address, *asked, exits=5).stderr
        assert problem in said and len(said.splitlines()) <= 2


@pytest.mark.campaign
def test_addresses_where_no_cluster_can_be_had_are_one_line_each(tmp_path, cluster):
    for address, problem in (
        (f"ray://{cluster.address}", "is an address for Ray Client"),
        ("127.0.0.1:1", "error: no Ray cluster answers at "),
    ):
        cli = Cli(tmp_path, cluster.environment)
        cli.write(FILE)
        assert problem in cli.run("fit", "experiment.yaml", "--ray", address, exits=5).stderr


@dataclass
class Divided:
    """An experiment of which a node of the cluster sees no file, its MLSpec included."""

    cli: Cli
    cluster: Simulated
    expected: dict[str, bytes]

    def fit(self) -> Fit:
        asked = ("fit", "experiment.yaml", "--ray", self.cluster.address, "--workers", "2")
        return Fit(self.cli, self.cluster, self.cli.start(*asked, anew=True))


def divided(hidden: Path | None, cluster: Simulated) -> Divided:
    """One below the hidden directory, and how it ends on this machine alone."""
    if hidden is None:
        pytest.skip("namespaces are not allowed here")
    text = FILE.replace("tests.scenarios.ray_specs:Guarded", "shipped:Shipped")
    alone, there = Cli(hidden / "alone"), Cli(hidden / "there", cluster.environment)
    for cli in (alone, there):
        cli.path.mkdir()
        cli.write(text)
        cli.write(SHIPPED, "shipped.py")
    alone.run("fit", "experiment.yaml", "--workers", "1")
    return Divided(there, cluster, alone.weights())


def scratch() -> set[Path]:
    """The directories of nodes that see no others."""
    return {*Path(tempfile.gettempdir()).glob("rapidfire-node-*")}


def test_a_node_that_shares_no_directory_gets_code_and_checkpoints_and_gives_them_back(hidden, cluster):
    before = scratch()
    given = divided(hidden, cluster)
    begun = given.cli.start("fit", "experiment.yaml", "--workers", "1", anew=True)
    Fit(given.cli, given.cluster, begun).wait_for_epochs(3)
    os.kill(begun.pid, signal.SIGINT)
    begun.communicate()
    under_way = given.fit()
    assert "2 workers on 2 nodes (1 with copies of the files)" in under_way.ended()
    with closing(sqlite3.connect(given.cli.path / "rapidfire_experiments/tiny/journal.db")) as db:
        assert {*db.execute("SELECT DISTINCT slot FROM turns")} == {(0,), (1,)}
        epochs = "json_extract(body, '$.run'), json_extract(body, '$.epoch')"
        again = f"SELECT count(*) FROM events WHERE kind = 'epoch_ended' GROUP BY {epochs}"
        assert {*db.execute(again)} == {(1,)}, "it continued from the checkpoints"
    for run in given.cli.status()["runs"]:
        assert "scale 2.0" in given.cli.run("logs", str(run["number"])).stdout
    assert_equal(given.cli, given.expected)
    assert ours(hidden) == []
    deadline = time.monotonic() + 30
    while scratch() != before:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.campaign
def test_prepared_files_of_a_node_apart_reach_all_nodes(tmp_path):
    with two_nodes(hidden=tmp_path) as cluster:
        given = divided(tmp_path, cluster)
        given.fit().ended()
    assert (given.cli.path / "rapidfire_experiments/tiny/prepared/scale").read_text() == "2"
    assert_equal(given.cli, given.expected)


def strike(under_way: Fit, what: str) -> None:
    """Kill or freeze something of the fit or its cluster."""
    match what:
        case "worker killed":
            os.kill(under_way.workers(1)[0], signal.SIGKILL)
        case "steward killed":
            os.kill(under_way.stewards(1)[0], signal.SIGKILL)
        case "node killed":
            under_way.cluster.remove(1)
        case "node frozen":
            for pid in (*under_way.stewards(1), *under_way.cluster.nodes[1]["pids"]["raylet"]):
                os.kill(pid, signal.SIGSTOP)
        case "head killed":
            under_way.cluster.process.kill()
        case "controller killed":
            under_way.process.kill()


STRUCK = ("worker killed", "steward killed", "node killed", "node frozen", "head killed", "controller killed")


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("what", STRUCK)
def test_whatever_dies_where_nodes_share_no_directory_the_same_command_ends_with_the_same_bits(
    tmp_path, what, seed
):
    chance = random.Random(f"{what} {seed}")
    with two_nodes(hidden=tmp_path) as cluster:
        given = divided(tmp_path, cluster)
        under_way = given.fit()
        under_way.wait_for_epochs(1)
        time.sleep(chance.uniform(0, 4))
        with suppress(IndexError, ProcessLookupError):
            strike(under_way, what)
        under_way.process.communicate()
        if what not in ("head killed", "node killed"):
            given.cli.run("fit", "experiment.yaml", "--ray", given.cluster.address, "--workers", "2")
    given.cli.run("fit", "experiment.yaml")
    assert_equal(given.cli, given.expected)
    assert ours(tmp_path) == []


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize("what", STRUCK)
def test_whatever_dies_at_any_moment_the_same_command_ends_with_the_same_bits(tmp_path, expected, what, seed):
    chance = random.Random(f"{what} {seed}")
    with two_nodes() as cluster:
        under_way = fit(tmp_path, cluster)
        under_way.wait_for_epochs(1)
        time.sleep(chance.uniform(0, 4))
        with suppress(IndexError, ProcessLookupError):  # it may have ended by now
            strike(under_way, what)
        under_way.process.communicate()
        if what != "head killed":
            under_way.cli.run("fit", "experiment.yaml", "--ray", cluster.address, "--workers", "2")
    under_way.cli.run("fit", "experiment.yaml")
    assert_equal(under_way.cli, expected)
    assert ours(tmp_path) == []
