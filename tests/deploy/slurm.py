"""Stand-ins for Slurm's commands, so that batch scripts run on this machine as they would in a job."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.engine.ray.clusters import CALM
from tests.processes.forked import Forked
from tests.processes.left_out import PATHS

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "deploy" / "slurm"
QUICK = {**os.environ, "PYTHONPATH": PATHS}
"""The environment of a command of Ray."""

SRUN = """\
#!/bin/bash
# Runs the command once for each task, here; kills all on SIGTERM, as srun does.
tasks=1
while [[ "$1" == --* ]]; do
    [[ "$1" == --ntasks=* ]] && tasks=${1#*=}
    shift
done
started=()
for ((task = 0; task < tasks; task++)); do
    SLURM_PROCID=$task "$@" &
    started+=($!)
done
trap 'kill -KILL "${started[@]}" 2>/dev/null' TERM
while wait "${started[@]}"; (($? > 128)) && kill -0 "${started[@]}" 2>/dev/null; do :; done
"""
SCONTROL = """\
#!/bin/bash
echo "$@" >>"$SCONTROL_LOG"
"""


@dataclass
class Slurm:
    """A machine with Slurm's commands, on which a project's directory is shared."""

    project: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        commands = self.project / "slurm-bin"
        commands.mkdir()
        for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
            (commands / name).write_text(text)
            (commands / name).chmod(0o755)
        rapidfire = commands / "rapidfire"
        rapidfire.write_text(f'#!/bin/bash\nexec "{sys.executable}" -m rapidfire_cli "$@"\n')
        rapidfire.chmod(0o755)
        self.home = self.project / "home"
        self.home.mkdir()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_"))},
            "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": PATHS,
            **CALM,
            "HOME": str(self.home),
            "SCONTROL_LOG": str(self.project / "scontrol.log"),
            "SLURM_JOB_ID": str(os.getpid()),
            **self.environment,
        }

    def start(self, script: str, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
        """Start a batch script, as Slurm does on a job's first node."""
        return subprocess.Popen(
            ["bash", str(SCRIPTS / script), *arguments],
            cwd=self.project,
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, script: str, *arguments: str, exits: int = 0, **variables: str) -> str:
        """Run a batch script to its end; return what it printed."""
        process = self.start(script, *arguments, **variables)
        printed, _ = process.communicate()
        assert process.returncode == exits, printed
        return printed

    def rapidfire(self, *arguments: str) -> str:
        """Run the tool in the project's directory, outside of any job; return what it printed."""
        process = Forked(arguments, self.project, self.environment)
        printed, said = process.communicate()
        assert process.returncode == 0, said
        return printed

    def requeued(self) -> list[str]:
        """What `scontrol` was called with."""
        log = self.project / "scontrol.log"
        return log.read_text().splitlines() if log.exists() else []
