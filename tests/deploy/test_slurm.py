"""The batch scripts of deploy/slurm, run for real: only Slurm's own commands are stand-ins."""

import json
import os
import shutil
import signal
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.real_slurm import Cluster
from tests.deploy.slurm import ROOT, Slurm

FILE = """\
mlspec: specs.digits:DigitsSpec
objective: {metric: top1_accuracy, direction: max}
gridsearch:
  user_knobs: {model: mlp, hidden: !list [16, 32], dropout: 0.0}
  train:
    epochs: EPOCHS
    batch_size: 64
    optimizer: {name: Adam, args: {lr: !list [1e-2, 1e-3]}}
  named_metrics: [top1_accuracy]
"""


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    (tmp_path / "specs").mkdir()
    shutil.copy(ROOT / "specs" / "digits.py", tmp_path / "specs")
    return Slurm(tmp_path)


def results(slurm: Slurm | Cluster, experiment: str) -> dict[int, Any]:
    """By the number of each run, its state, its last epoch's metrics and its final weights."""
    listed = json.loads(slurm.rapidfire("best", "--experiment", experiment, "-o", "json"))
    home = slurm.project / listed["directory"]
    found = {}
    for run in listed["runs"]:
        (weights,) = home.glob(f"runs/{run['number']}-*/final.safetensors")
        found[run["number"]] = (run["state"], run["epoch"], run["metrics"], weights.read_bytes())
    return found


def trained_here(slurm: Slurm | Cluster, epochs: int) -> dict[int, Any]:
    """The results of a fit without Slurm."""
    (slurm.project / "here.yaml").write_text(FILE.replace("EPOCHS", str(epochs)))
    slurm.rapidfire("fit", "here.yaml", "--threads", "1")
    return results(slurm, "here")


def processes() -> list[str]:
    """The command line of each process and its environment at the start, as far as they can be read."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found.append(f"{(place / 'cmdline').read_bytes()!r} {(place / 'environ').read_bytes()!r}")
    return found


def assert_nothing_is_left(slurm: Slurm | Cluster, tmp: Path) -> None:
    """No process of the job's Ray, no token, no socket."""
    assert not [process for process in processes() if f"{tmp}/session" in process]
    assert not [*slurm.home.glob(".rapidfire-*")]
    assert not tmp.exists()


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
@pytest.mark.timeout(600)
@pytest.mark.campaign
@pytest.mark.parametrize(("nodes", "continued"), [(1, "here"), (2, "in a job")])
def test_a_job_that_nears_its_time_limit_is_queued_again_and_completes_with_the_same_results(
    slurm, nodes, continued
):
    (slurm.project / "sweep.yaml").write_text(FILE.replace("EPOCHS", "12"))
    tmp = Path("/tmp") / f"rf-test-{os.getpid()}"  # sockets need a short path
    job = {"SLURM_JOB_NUM_NODES": str(nodes), "SLURM_CPUS_PER_TASK": "1", "RAY_TMP": str(tmp)}
    journal = slurm.project / "rapidfire_experiments" / "sweep" / "journal.db"

    first = slurm.start("ray.sbatch", "sweep.yaml", "--threads", "1", **job)
    while not list(journal.parent.glob("runs/*/log.txt")) and first.poll() is None:
        time.sleep(0.2)
    (private,) = slurm.home.glob(".rapidfire-*")
    assert private.stat().st_mode & 0o777 == 0o700
    assert (private / "token").stat().st_mode & 0o777 == 0o600
    token = (private / "token").read_text()
    assert len(token) == 64
    assert not [process for process in processes() if token in process]
    first.send_signal(signal.SIGUSR1)
    printed, _ = first.communicate()
    assert first.returncode == 128 + signal.SIGTERM, printed
    assert slurm.requeued() == [f"requeue {slurm.environment['SLURM_JOB_ID']}"]
    assert_nothing_is_left(slurm, tmp)

    if continued == "in a job":
        printed = slurm.run("ray.sbatch", "sweep.yaml", "--threads", "1", **job)
        assert "2 workers on 2 nodes" in printed
        assert_nothing_is_left(slurm, tmp)
    else:
        slurm.rapidfire("fit", "sweep.yaml", "--threads", "1")
    assert results(slurm, "sweep") == trained_here(slurm, 12)


def test_shares_that_an_array_trained_are_merged_to_the_results_of_one_fit(slurm):
    (slurm.project / "sweep.yaml").write_text(FILE.replace("EPOCHS", "2"))
    array = {"SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "2"}
    for task in ("1", "2"):
        job = {**array, "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_ID": task}
        slurm.run("array.sbatch", "sweep.yaml", "--workers", "1", "--threads", "1", **job)
    slurm.run("merge.sbatch", "17")
    merged = "rapidfire_experiments/merged-17"
    assert sorted(results(slurm, merged)) == [1, 2, 3, 4]
    assert results(slurm, merged) == trained_here(slurm, 2)
    assert slurm.requeued() == []


@pytest.mark.campaign
def test_a_task_of_an_array_that_nears_its_time_limit_is_queued_again(slurm):
    (slurm.project / "sweep.yaml").write_text(FILE.replace("EPOCHS", "100000"))
    job = {f"SLURM_ARRAY_TASK_{name}": "1" for name in ("ID", "MIN", "MAX", "COUNT")}
    task = slurm.start("array.sbatch", "sweep.yaml", **job, SLURM_ARRAY_JOB_ID="17")
    shares = slurm.project / "rapidfire_experiments" / "shards-17" / "1"
    while not list(shares.glob("sweep/runs/*/log.txt")) and task.poll() is None:
        time.sleep(0.1)
    task.send_signal(signal.SIGUSR1)
    printed, _ = task.communicate()
    assert task.returncode == 128 + signal.SIGTERM, printed
    assert slurm.requeued() == [f"requeue {slurm.environment['SLURM_JOB_ID']}"]


@pytest.mark.parametrize(("first", "last"), [("0", "3"), ("1", "7")])
def test_an_array_whose_numbers_are_not_those_of_the_shares_is_refused(slurm, first, last):
    job = {"SLURM_ARRAY_TASK_MIN": first, "SLURM_ARRAY_TASK_MAX": last, "SLURM_ARRAY_TASK_COUNT": "4"}
    printed = slurm.run("array.sbatch", "sweep.yaml", exits=2, **job, SLURM_ARRAY_JOB_ID="17")
    assert "the array must be 1-N" in printed
    assert not (slurm.project / "rapidfire_experiments").exists()


@pytest.mark.parametrize("script", ["ray.sbatch", "array.sbatch", "merge.sbatch"])
def test_a_script_without_arguments_prints_how_to_submit_it(slurm, script):
    assert "usage: sbatch" in slurm.run(script, exits=2)
