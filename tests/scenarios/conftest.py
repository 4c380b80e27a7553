"""The tool as a person uses it: a directory, a file, a command, what it printed and what it left behind."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest

from rapidfire_cli.engine.local import backend
from tests.processes import forked
from tests.processes.forked import Forked
from tests.shares import WHOLE

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "tests" / "scenarios" / "specs.py"
HEADER = """\
experiment: tiny
mlspec: tests.scenarios.specs:Tiny
"""
GRID = """\
gridsearch:
  user_knobs: {pause: 0}
  train:
    epochs: 3
    batch_size: !list [16, 32]
    optimizer: {name: Adam, args: {lr: !list [0.01, 0.001]}}
  named_metrics: [top1_accuracy]
"""

Process: TypeAlias = Forked | subprocess.Popen[str]


def place_of(text: str) -> str:
    """The first place in `specs.py` where the text is: `…/tests/scenarios/specs.py:12`."""
    lines = SPECS.read_text("utf-8").splitlines()
    return f"{SPECS}:{1 + next(at for at, line in enumerate(lines) if text in line)}"


@dataclass
class Cli:
    """A working directory with the tool at hand."""

    path: Path
    extra: dict[str, str] = field(default_factory=dict)  # in the environment

    def write(self, text: str, name: str = "experiment.yaml") -> Path:
        file = self.path / name
        file.write_text(text)
        return file

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "rapidfire_cli", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", **self.extra}

    def run(self, *arguments: str, exits: int = 0, anew: bool = WHOLE) -> subprocess.CompletedProcess[str]:
        """Run it to its end, which must be as expected."""
        process = self.start(*arguments, anew=anew)
        printed, said = process.communicate()
        assert process.returncode == exits, f"exit code {process.returncode}\n{printed}\n{said}"
        return subprocess.CompletedProcess(self.command(*arguments), exits, printed, said)

    def start(self, *arguments: str, anew: bool = WHOLE, **streams: int) -> Process:
        """Start it in a process that has imported what it needs; `anew` as people do, which takes longer."""
        if not anew:
            return Forked(arguments, self.path, self.environment, **streams)
        usual = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            self.command(*arguments), cwd=self.path, env=self.environment, text=True, **{**usual, **streams}
        )

    def status(self) -> dict[str, Any]:
        return json.loads(self.run("status", "--output", "json").stdout)

    def runs(self) -> list[tuple[int, str, str, object]]:
        """Number, id, state and origin of each run."""
        return [(run["number"], run["id"], run["state"], run.get("origin")) for run in self.status()["runs"]]

    def weights(self, experiment: str = "tiny") -> dict[str, bytes]:
        """The final weights by run id."""
        runs = self.path / "rapidfire_experiments" / experiment / "runs"
        return {
            file.parent.name.split("-")[1]: file.read_bytes() for file in runs.glob("*/final.safetensors")
        }

    def metrics(self) -> dict[str, Any]:
        return {run["id"]: run["metrics"] for run in self.status()["runs"]}

    def outcome(self) -> tuple[Any, ...]:
        """What two experiments with equal results have in common, to the bit."""
        return self.weights(), self.metrics(), self.runs()


@pytest.fixture
def forks_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own process has its workers forked, as those of `cli` are."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    if not WHOLE:
        usual = SimpleNamespace(Popen=forked.worker, DEVNULL=subprocess.DEVNULL)
        monkeypatch.setattr(backend, "subprocess", usual)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture(scope="module")
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """The module's FILE, by default a grid of four runs, trained at once and without interruption."""
    cli = Cli(tmp_path_factory.mktemp("trained"))
    cli.write(getattr(request.module, "FILE", HEADER + GRID))
    cli.run("fit", "experiment.yaml")
    return cli
