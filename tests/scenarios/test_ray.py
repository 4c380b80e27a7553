"""`fit --ray` trains on the nodes of a Ray cluster, to the bits of one machine, whatever dies."""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rapidfire_cli.engine.ray.lease import RENEWAL, SILENCE
from tests.engine.ray.clusters import OPEN, Simulated, can_hide, two_nodes
from tests.scenarios.pretended import fit_on_nodes
from tests.scenarios.ray_fits import FILE, SLOW, Fit, assert_equal, begin, command, ours, project
from tests.shares import share


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict[str, bytes]:
    """The weights by run, trained on this machine alone."""
    cli = project(tmp_path_factory.mktemp("alone"))
    cli.run("fit", "experiment.yaml", "--workers", "1")
    return cli.weights()


@pytest.fixture(scope="module")
def hidden(tmp_path_factory) -> Path | None:
    """A directory that the second node of the cluster does not see."""
    return Path(tmp_path_factory.mktemp("hidden")) if can_hide() else None


@pytest.fixture(scope="module")
def apart(hidden) -> Path:
    """The same, for tests that need one."""
    if hidden is None:
        pytest.skip("namespaces are not allowed here")
    return Path(hidden)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    """Where such a node makes a directory of its own."""
    return Path(tmp_path_factory.mktemp("scratch"))


@pytest.fixture(scope="module")
def cluster(hidden, scratch) -> Iterator[Simulated]:
    with two_nodes(hidden=hidden, more={"RAPIDFIRE_SCRATCH": str(scratch)}) as simulated:
        yield simulated


@pytest.mark.campaign
def test_a_killed_worker_is_replaced(tmp_path, cluster, expected):
    under_way = begin(project(tmp_path, cluster), cluster)
    under_way.wait_for_epochs(2)
    os.kill(under_way.workers(1)[0], signal.SIGKILL)
    under_way.ended()
    assert_equal(under_way.cli, expected)


@pytest.mark.campaign
def test_status_says_where_runs_train_and_those_of_a_frozen_node_continue_once_its_workers_must_have_ended(
    tmp_path, cluster, expected
):
    under_way = begin(project(tmp_path, cluster), cluster)
    under_way.wait_for_epochs(2)
    workers = under_way.workers(1)
    assert len(under_way.workers(0)) == len(workers) == 1
    assert under_way.hosts() <= {node["id"][:6] for node in cluster.nodes}
    [raylet] = cluster.nodes[1]["pids"]["raylet"]
    for pid in (*under_way.stewards(1), raylet):
        os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    while any(map(command, workers)):  # their guardians are not frozen
        assert time.monotonic() < begun + RENEWAL + 2
        time.sleep(0.1)
    assert "2 workers on 2 nodes\n" in under_way.ended()
    os.kill(raylet, signal.SIGCONT)
    assert_equal(under_way.cli, expected)
    assert ours(tmp_path) == []
    assert not (tmp_path / "rapidfire_experiments/tiny/cluster").exists()


@pytest.mark.campaign
def test_runs_leave_a_node_that_is_about_to_go_and_use_one_that_joins_late(tmp_path, expected):
    with two_nodes() as cluster:
        under_way = begin(project(tmp_path, cluster, SLOW.replace("0.1", "0.3")), cluster)
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
def test_a_node_that_hangs_while_it_should_join_is_left_out(tmp_path, expected):
    with two_nodes() as cluster:
        [raylet] = cluster.nodes[1]["pids"]["raylet"]
        os.kill(raylet, signal.SIGSTOP)
        under_way = begin(project(tmp_path, cluster), cluster)
        assert "1 worker on 1 node\n" in under_way.ended()
    assert_equal(under_way.cli, expected)


@pytest.mark.campaign
def test_a_run_of_two_devices_trains_within_a_node_and_one_of_three_is_refused(tmp_path, cluster):
    tiny = FILE.replace("shipped:Shipped", "tests.scenarios.specs:Tiny")  # two processes may train a run
    gangs = tiny.replace("epochs: 4", "epochs: 2\n    gpus: 2")
    here, there = project(tmp_path / "here", text=gangs), project(tmp_path, cluster, gangs)
    here.run("fit", "experiment.yaml", "--workers", "2")
    there.run("fit", "experiment.yaml", "--ray", cluster.address, "--workers", "4")
    assert there.weights() == here.weights() and len(here.weights()) == 4
    there.write(gangs.replace("gpus: 2", "gpus: 3"))
    said = there.run("fit", "experiment.yaml", "--ray", cluster.address, "--workers", "4", exits=2).stderr
    assert "error[E519]" in said and "(2 workers on the CPU on one node)" in said


@pytest.mark.campaign
def test_a_killed_controller_leaves_no_worker_and_the_same_command_continues_here(
    tmp_path, cluster, expected
):
    under_way = begin(project(tmp_path, cluster), cluster)
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
        under_way = begin(project(tmp_path, cluster), cluster)
        under_way.wait_for_epochs(2)
        cluster.remove(1)
        under_way.wait_for_epochs(6)
        cluster.process.kill()  # and the head with it
        said = under_way.ended(5)
    assert "error: the connection to the Ray cluster has ended" in said
    under_way.cli.run("fit", "experiment.yaml")
    assert_equal(under_way.cli, expected)


@pytest.mark.campaign
def test_a_cluster_that_lets_anyone_in_is_refused_unless_that_is_accepted(tmp_path, expected):
    with two_nodes(protected=False) as cluster:
        refused = begin(project(tmp_path, cluster), cluster)
        assert "lets anyone on its network run code" in refused.ended(5)
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
        cli = project(tmp_path, cluster)
        cli.extra |= without
        said = cli.run("fit", "experiment.yaml", "--ray", cluster.address, exits=5).stderr
        assert problem in said and "saved progress" not in said and "a killed fit" not in said
        assert not (tmp_path / "rapidfire_experiments/tiny/cluster").exists()


@pytest.mark.campaign
def test_more_gpus_than_a_cluster_has_are_refused_in_one_line(tmp_path, cluster):
    cli = project(tmp_path, cluster)
    said = cli.run("fit", "experiment.yaml", "--ray", cluster.address, "--gpus", "1", exits=5).stderr
    assert said == "error: 1 GPU requested, but the nodes of the Ray cluster have 0\n"


@pytest.mark.campaign
def test_as_many_runs_share_each_gpu_of_a_cluster_as_were_measured_to_fit(tmp_path, cluster, expected):
    cli = project(tmp_path, cluster)
    asked = ("--ray", cluster.address, "--runs-per-gpu", "auto")
    refused = fit_on_nodes(cli, "0,", *asked, exits=5)
    assert "some nodes have none; `--gpus 1` leaves them out" in refused
    said = fit_on_nodes(cli, "0,0", *asked)
    before, packed = said.index("2 workers on 2 nodes\n"), said.index("2 runs on each GPU: run ")
    assert before < packed < said.index("4 workers on 2 nodes\n")
    assert_equal(cli, expected)
    assert ours(tmp_path) == []


@pytest.mark.campaign
def test_addresses_where_no_cluster_can_be_had_are_one_line_each(tmp_path, cluster):
    for address, problem in (
        (f"ray://{cluster.address}", "is an address for Ray Client"),
        ("127.0.0.1:1", "error: no Ray cluster answers at "),
    ):
        cli = project(tmp_path, cluster)
        assert problem in cli.run("fit", "experiment.yaml", "--ray", address, exits=5).stderr


def test_a_node_that_shares_no_directory_gets_code_and_checkpoints_and_gives_them_back(
    apart, scratch, cluster, expected
):
    cli = project(apart / "moved", cluster)
    begun = cli.start("fit", "experiment.yaml", "--workers", "1")
    Fit(cli, cluster, begun).wait_for_epochs(3)
    os.kill(begun.pid, signal.SIGINT)
    begun.communicate()
    assert "2 workers on 2 nodes (1 with copies of the files)" in begin(cli, cluster).ended()
    with closing(sqlite3.connect(cli.path / "rapidfire_experiments/tiny/journal.db")) as db:
        assert {*db.execute("SELECT DISTINCT slot FROM turns")} == {(0,), (1,)}
    logs = [cli.run("logs", str(run["number"])).stdout for run in cli.status()["runs"]]
    assert all("scale 2.0" in log for log in logs)
    assert [log.count("one step") for log in logs] == [32, 32, 16, 16], "no step was trained twice"
    assert_equal(cli, expected)
    assert ours(apart, scratch) == []
    deadline = time.monotonic() + 30
    while [*scratch.iterdir()]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("epochs", share(range(1, 9), 8))
def test_the_run_of_a_killed_worker_continues_where_nodes_share_no_directory(
    apart, scratch, cluster, expected, epochs
):
    under_way = begin(project(apart / f"killed-{epochs}", cluster), cluster)
    under_way.wait_for_epochs(epochs)
    assert under_way.hosts() <= {node["id"][:6] for node in cluster.nodes}
    os.kill(under_way.workers(1)[0], signal.SIGKILL)
    assert "died" in under_way.ended()
    assert_equal(under_way.cli, expected)
    assert ours(apart, scratch) == []


@pytest.mark.campaign
def test_prepared_files_of_a_node_apart_reach_all_nodes(tmp_path, apart, expected):
    with two_nodes(hidden=tmp_path) as cluster:
        there = project(tmp_path / "there", cluster)
        begin(there, cluster).ended()
    assert (there.path / "rapidfire_experiments/tiny/prepared/scale").read_text() == "2"
    assert_equal(there, expected)
