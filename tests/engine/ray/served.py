"""The process that owns a simulated cluster: says what there is as JSON, and obeys words of its stdin.

A node apart is in namespaces of its own, where a directory is hidden and other processes are, too.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from namespaces import NAMESPACE  # type: ignore[import-not-found] # beside this file, which is run as a script
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

from rapidfire_cli.engine.local.guardian import end_with

PREEMPTION = DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
OPTIONS = {"num_cpus": 2, "include_log_monitor": False}  # of every node; no test reads Ray's logs
WORDS = "--num-cpus=2 --include-log-monitor=false"  # the same
PARENT, HIDDEN = int(sys.argv[1]), sys.argv[2]


class Apart:
    """A node that does not see the hidden directory."""

    def __init__(self, cluster: Cluster, others: set[str]) -> None:
        """Join the cluster, whose nodes are the `others` so far."""
        me = os.getpid()
        join = f"{Path(sys.executable).parent}/ray start --address={cluster.address} {WORDS} --block"
        self._process = subprocess.Popen(
            [*NAMESPACE, "sh", "-c", f"mount -t tmpfs none '{HIDDEN}' && exec {join}"],
            stdout=subprocess.DEVNULL,
            cwd="/",
            preexec_fn=lambda: end_with(me),  # noqa: PLW1509 - this process has no threads that hold a lock
        )
        while not (new := _ids(cluster) - others):
            time.sleep(0.1)
        [self.node_id] = new

    def pids(self) -> dict[str, list[int]]:
        """The process ids, as this machine has them."""
        commands = {int(path.parent.name): _read(path) for path in Path("/proc").glob("[0-9]*/cmdline")}
        marks = (b"/raylet/raylet", self.node_id.encode())
        return {"raylet": [pid for pid, words in commands.items() if all(mark in words for mark in marks)]}

    def end(self) -> None:
        """End all processes of the node."""
        self._process.kill()
        self._process.wait()


def _ids(cluster: Cluster) -> set[str]:
    return {found.hex() for found in GcsClient(address=cluster.address).get_all_node_info()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _say(**told: Any) -> None:
    print(json.dumps(told), flush=True)


def _add(cluster: Cluster, nodes: list[Any]) -> Any:
    return Apart(cluster, {node.node_id for node in nodes}) if HIDDEN else cluster.add_node(**OPTIONS)


def _shown(node: Any) -> dict[str, Any]:
    if isinstance(node, Apart):
        return {"id": node.node_id, "pids": node.pids()}
    kinds = node.all_processes.items()
    return {"id": node.node_id, "pids": {kind: [each.process.pid for each in found] for kind, found in kinds}}


def main() -> None:
    end_with(PARENT)
    cluster = Cluster(initialize_head=True, head_node_args={**OPTIONS, "include_dashboard": False})
    nodes: list[Any] = [cluster.head_node]
    nodes.append(_add(cluster, nodes))
    _say(address=cluster.address, nodes=[*map(_shown, nodes)])
    for line in sys.stdin:
        match line.split():
            case ["remove", index] if isinstance(node := nodes[int(index)], Apart):
                node.end()
                _say()
            case ["remove", index]:
                cluster.remove_node(nodes[int(index)], allow_graceful=False)
                _say()
            case ["drain", index]:
                client = GcsClient(address=cluster.address)
                soon = int((time.time() + 600) * 1000)
                client.drain_node(nodes[int(index)].node_id, PREEMPTION, "preempted", soon)
                _say()
            case ["add"]:
                nodes.append(_add(cluster, nodes))
                _say(node=_shown(nodes[-1]))


if __name__ == "__main__":
    main()
