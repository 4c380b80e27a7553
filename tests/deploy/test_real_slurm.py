"""The batch scripts of deploy/slurm on a real Slurm cluster, where one can be had."""

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.deploy.real_slurm import Cluster, two_nodes
from tests.deploy.slurm import ROOT
from tests.deploy.test_slurm import FILE, assert_nothing_is_left, results, trained_here

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(600)]
ONE_CORE = ("--cpus-per-task=1",)


@pytest.fixture
def cluster(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    (tmp_path / "specs").mkdir()
    shutil.copy(ROOT / "specs" / "digits.py", tmp_path / "specs")
    with two_nodes(tmp_path_factory.mktemp("slurm"), tmp_path) as found:
        yield found


def write(cluster: Cluster, epochs: int) -> None:
    (cluster.project / "sweep.yaml").write_text(FILE.replace("EPOCHS", str(epochs)))


def begun_on_two_nodes(cluster: Cluster, epochs: int) -> str:
    """The number of a Ray job that has trained an epoch."""
    write(cluster, epochs)
    options = (*ONE_CORE, "--time=10", "--nodes=2")
    job = cluster.submit("ray.sbatch", "sweep.yaml", "--threads", "1", options=options)
    cluster.wait_for_text(job, " epoch 2/")
    return job


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_a_job_on_two_nodes_that_nears_its_time_limit_continues_in_the_same_job(cluster):
    job = begun_on_two_nodes(cluster, 40)
    cluster.signal(job, "USR1")  # as before its time limit
    cluster.wait_for(job, "PENDING")
    assert "interrupted; rerun the same command to continue" in cluster.printed(job)
    assert_nothing_is_left(cluster, Path(f"/tmp/rf-0-{job}"))
    cluster.wait_for(job, "COMPLETED")
    assert cluster.printed(job).count("2 workers on 2 nodes") == 2
    assert_nothing_is_left(cluster, Path(f"/tmp/rf-0-{job}"))
    assert results(cluster, "sweep") == trained_here(cluster, 40)


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_a_job_on_two_nodes_whose_script_gets_sigterm_saves_its_runs_and_leaves_nothing(cluster):
    job = begun_on_two_nodes(cluster, 4_000)
    cluster.signal(job, "TERM")
    cluster.wait_for(job, "FAILED")
    assert "interrupted; rerun the same command to continue" in cluster.printed(job)
    assert_nothing_is_left(cluster, Path(f"/tmp/rf-0-{job}"))


def test_a_task_of_an_array_that_nears_its_time_limit_continues_and_the_shares_are_merged(cluster):
    write(cluster, 40)
    options = (*ONE_CORE, "--time=10", "--array=1-2")
    array = cluster.submit("array.sbatch", "sweep.yaml", "--threads", "1", options=options)
    merge = cluster.submit("merge.sbatch", array, options=(f"--dependency=afterok:{array}",))
    first = f"{array}_1"
    cluster.wait_for_text(f"{array}-1", " epoch 2/")
    cluster.signal(first, "USR1")
    cluster.wait_for(first, "PENDING")
    assert "interrupted; rerun the same command to continue" in cluster.printed(f"{array}-1")
    cluster.wait_for(merge, "COMPLETED")
    assert results(cluster, f"rapidfire_experiments/merged-{array}") == trained_here(cluster, 40)
