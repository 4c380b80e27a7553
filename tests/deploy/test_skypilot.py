"""The task of deploy/skypilot, run for real: its nodes are processes of this machine."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.deploy.slurm import ROOT
from tests.deploy.test_slurm import FILE, processes
from tests.processes.left_out import PATHS

TASK = ROOT / "deploy" / "skypilot" / "ray.yaml"


@pytest.mark.campaign
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_two_nodes_train_and_end_with_the_fit(tmp_path):
    (tmp_path / "specs").mkdir()
    shutil.copy(ROOT / "specs" / "digits.py", tmp_path / "specs")
    (tmp_path / "sweep.yaml").write_text(FILE.replace("EPOCHS", "3"))
    home = tmp_path / "home" / "rapidfire-env"
    home.mkdir(parents=True)
    (home / "bin").symlink_to(Path(sys.executable).parent)
    asked = [sys.executable, "-c", "import ray; print(ray.util.get_node_ip_address())"]
    address = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    sockets = f"/tmp/rf-sky-{os.getpid()}"  # a path that is short
    script = yaml.safe_load(TASK.read_text())["run"]
    for place, here in (("/shared/rapidfire", str(tmp_path / "shared")), ("/tmp/rf-$UID", sockets)):
        assert place in script
        script = script.replace(place, here)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "HOME": str(home.parent),
        "PYTHONPATH": PATHS,
        "FILE": "sweep.yaml",
        "OPTIONS": "--workers 2 --threads 1",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
        "RAY_PORT": "6390",
        "SKYPILOT_NODE_IPS": f"{address}\n{address}",
    }
    nodes = [
        subprocess.Popen(
            ["bash", "-c", script], cwd=tmp_path, env={**environment, "SKYPILOT_NODE_RANK": str(rank)}
        )
        for rank in (0, 1)
    ]
    assert [node.wait() for node in nodes] == [0, 0]
    assert len(list(tmp_path.glob("shared/sweep/runs/*/final.safetensors"))) == 4
    assert not [process for process in processes() if f"{sockets}/session" in process]
    shutil.rmtree(sockets)
