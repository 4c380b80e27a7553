"""A real Ray cluster of two simulated nodes on this machine, as processes of another process.

A node apart has a mount namespace of its own, in which a directory is hidden.
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests.engine.ray.namespaces import NAMESPACE
from tests.processes.left_out import PATHS

SERVER = Path(__file__).with_name("served.py")
CALM = {
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
}
"""Ray starts no process before one is needed, of which stewards need one for each node."""


@dataclass
class Simulated:
    """A cluster that the test owns."""

    address: str
    token: str
    nodes: list[dict[str, Any]]  # the id and the process ids of each, the head first
    process: subprocess.Popen[str]
    paths: Mapping[str, str]  # for Python's imports

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs."""
        mode = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token} if self.token else OPEN
        return {**mode, **self.paths}

    def remove(self, node: int) -> None:
        """End the node, as a machine that is switched off."""
        self._ask(f"remove {node}")

    def drain(self, node: int) -> None:
        """Announce that the node will go."""
        self._ask(f"drain {node}")

    def add(self) -> None:
        """Add a node of two cores."""
        self.nodes.append(self._ask("add")["node"])

    def _ask(self, order: str) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        print(order, file=self.process.stdin, flush=True)
        return dict(json.loads(self.process.stdout.readline()))


def can_hide() -> bool:
    """Whether this machine allows namespaces."""
    return not subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode


OPEN = {"RAY_AUTH_MODE": "disabled"}


@contextmanager
def two_nodes(
    protected: bool = True,
    hidden: Path | None = None,
    more: Mapping[str, str] = MappingProxyType({}),
    usual: bool = False,
) -> Iterator[Simulated]:
    """Two nodes of two cores each, the second of which does not see the `hidden` directory.

    All processes there have `more` environment variables. Unless all is as `usual`, they need less time to
    start. The test is skipped where ray is not installed.
    """
    if find_spec("ray") is None:
        pytest.skip("ray is not installed")
    token = secrets.token_hex(16) if protected else ""
    mode = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if protected else OPEN
    paths = {} if usual else {"PYTHONPATH": PATHS}
    calm = {} if usual else CALM
    process = subprocess.Popen(
        [sys.executable, str(SERVER), str(os.getpid()), str(hidden or "")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **mode, **calm, **paths, **more, "RAY_USAGE_STATS_ENABLED": "0"},
    )
    try:
        assert process.stdout
        told = json.loads(process.stdout.readline())
        yield Simulated(told["address"], token, told["nodes"], process, paths)
    finally:
        process.kill()
        process.wait()
