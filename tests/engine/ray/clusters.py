"""A real Ray cluster of two simulated nodes on this machine, as processes of another process."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import pytest

_SERVE = """
import json, sys, time
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DrainNodeReason
PREEMPTION = DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
from rapidfire_cli.engine.local.guardian import end_with
import os
end_with(int(sys.argv[1]))
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
nodes = [cluster.head_node, cluster.add_node(num_cpus=2)]
def pids(node):
    return {kind: [each.process.pid for each in found] for kind, found in node.all_processes.items()}
def say(**told):
    print(json.dumps(told), flush=True)
say(address=cluster.address, nodes=[{"id": node.node_id, "pids": pids(node)} for node in nodes])
for line in sys.stdin:
    match line.split():
        case ["remove", index]:
            cluster.remove_node(nodes[int(index)], allow_graceful=False)
            say()
        case ["drain", index]:
            client = GcsClient(address=cluster.address)
            soon = int((time.time() + 600) * 1000)
            client.drain_node(nodes[int(index)].node_id, PREEMPTION, "preempted", soon)
            say()
        case ["add"]:
            nodes.append(cluster.add_node(num_cpus=2))
            say(node={"id": nodes[-1].node_id, "pids": pids(nodes[-1])})
"""


@dataclass
class Simulated:
    """A cluster that the test owns."""

    address: str
    token: str
    nodes: list[dict[str, Any]]  # the id and the process ids of each, the head first
    process: subprocess.Popen[str]

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token} if self.token else OPEN

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


OPEN = {"RAY_AUTH_MODE": "disabled"}


@contextmanager
def two_nodes(protected: bool = True) -> Iterator[Simulated]:
    """Two nodes of two cores each; the test is skipped where ray is not installed."""
    if find_spec("ray") is None:
        pytest.skip("ray is not installed")
    token = secrets.token_hex(16) if protected else ""
    mode = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if protected else OPEN
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **mode, "RAY_USAGE_STATS_ENABLED": "0"},
    )
    try:
        assert process.stdout
        told = json.loads(process.stdout.readline())
        yield Simulated(told["address"], token, told["nodes"], process)
    finally:
        process.kill()
        process.wait()
