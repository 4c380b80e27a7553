"""A real Slurm cluster of two nodes on this machine, where its commands are installed and we are root."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.slurm import SCRIPTS
from tests.engine.ray.clusters import CALM
from tests.processes.forked import Forked

PATIENCE = 300.0  # seconds for a job to get into a state; Slurm begins one again after two minutes
NODES = 2
CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/%n
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MpiDefault=none
"""
NODE = "NodeName=n{node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 State=UNKNOWN\n"
PARTITION = "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"


@dataclass(frozen=True)
class Cluster:
    """Submits jobs in a project's directory."""

    project: Path
    environment: dict[str, str]

    @property
    def home(self) -> Path:
        """HOME of the jobs."""
        return Path(self.environment["HOME"])

    def submit(self, script: str, *arguments: str, options: tuple[str, ...] = ()) -> str:
        """The number of the job of a batch script."""
        return self._command("sbatch", "--parsable", *options, str(SCRIPTS / script), *arguments)

    def state(self, job: str) -> str:
        """Such as RUNNING; of an array, the states of its tasks."""
        lines = self._command("scontrol", "show", "job", job).split()
        return " ".join(word.partition("=")[2] for word in lines if word.startswith("JobState="))

    def wait_for(self, job: str, *states: str) -> None:
        """Until the job is in one of these states."""
        deadline = time.monotonic() + PATIENCE
        while self.state(job) not in states:
            assert time.monotonic() < deadline, f"{self.state(job)}: {self.printed(job)}"
            time.sleep(0.2)

    def wait_for_text(self, job: str, text: str) -> None:
        """Until the job has printed this."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.printed(job):
            assert time.monotonic() < deadline, self.printed(job)
            time.sleep(0.1)

    def signal(self, job: str, name: str) -> None:
        """Send the job's batch script a signal."""
        self._command("scancel", "--batch", f"--signal={name}", job)

    def printed(self, job: str) -> str:
        """What the job has printed so far, whatever its log is called."""
        return "".join(path.read_text() for path in self.project.glob(f"rapidfire*-{job}*.log"))

    def rapidfire(self, *arguments: str) -> str:
        """Run the tool in the project's directory, outside of any job; return what it printed."""
        process = Forked(arguments, self.project, self.environment)
        printed, said = process.communicate()
        assert process.returncode == 0, said
        return printed

    def _command(self, *words: str) -> str:
        done = subprocess.run(
            words, cwd=self.project, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@contextmanager
def two_nodes(place: Path, project: Path) -> Iterator[Cluster]:
    """A cluster of two nodes of two cores each; the test is skipped where none can be had."""
    if os.getuid() or not all(map(shutil.which, ("munged", "slurmctld", "slurmd", "sbatch"))):
        pytest.skip("no Slurm, or not root (Debian: apt-get install munge slurmctld slurmd slurm-client)")
    names = {"host": socket.gethostname().partition(".")[0], "place": place}
    controller, *ports = _free_ports(NODES + 1)
    config = CONFIG.format(controller=controller, **names)
    config += "".join(NODE.format(node=node, port=port, **names) for node, port in enumerate(ports, 1))
    (place / "slurm.conf").write_text(config + PARTITION)
    (place / "munge.key").write_bytes(os.urandom(128))
    for path in (place, place / "munge.key"):
        path.chmod(0o700)
    files = [f"--{kind}-file={place}/munge.{kind}" for kind in ("key", "pid", "log", "seed")]
    munged = ["munged", "--force", "--foreground", f"--socket={place}/munge.socket", *files]
    home = project / "home"
    home.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_"))},
        "SLURM_CONF": f"{place}/slurm.conf",
        "VENV": sys.prefix,
        "HOME": str(home),
        **CALM,
    }
    with ExitStack() as stack:
        for words in (
            munged,
            ["slurmctld", "-D"],
            *(["slurmd", "-D", "-N", f"n{n + 1}"] for n in range(NODES)),
        ):
            daemon = subprocess.Popen(
                words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            stack.callback(_end, daemon)
            if words is munged:
                _await_file(place / "munge.socket")
        yield Cluster(project, environment)
        subprocess.run(["scancel", "--user=root"], env=environment, check=False)


def _end(daemon: "subprocess.Popen[bytes]") -> None:
    daemon.terminate()
    try:
        daemon.wait(10)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _await_file(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in found]
