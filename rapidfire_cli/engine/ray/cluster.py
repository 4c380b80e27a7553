"""What the bridge does with Ray: connect to a cluster, look at its nodes, and place stewards on them.

Ray's own names that start with an underscore are used for two things that it offers in no other way: to
connect with a wrong token on purpose, and to see which nodes are about to go.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import AuthenticationError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rapidfire_cli.engine.ray.steward import Steward
from rapidfire_cli.engine.ray.wire import MODE, TOKEN, TOKEN_PATH

CONNECTING = 20.0  # seconds (assumed)
MANY = 1 << 10  # calls that a steward serves at once: a few, but none may wait for another
_PLACES = f"{TOKEN_PATH}, {TOKEN} or ~/.ray/auth_token"
PROTECTED, OPEN = 0, 3  # exit codes of the process that connects without a token
_UNKNOWN = f"""
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=sys.argv[1])
except AuthenticationError:
    sys.exit({PROTECTED})
sys.exit({OPEN})
"""


class Unusable(Exception):  # noqa: N818 - what the cluster is
    """The cluster cannot be used; the argument says why."""


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node as Ray knows it."""

    id: str
    host: str
    cores: int
    gpus: int


def connect(address: str, insecure: bool) -> None:
    """Connect this process to the cluster, or start one on this machine (`local`). Raises Unusable."""
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False, "namespace": "rapidfire"}
    if address == "local":
        ray.init(address="local", include_dashboard=False, **options)
        return
    if address.startswith("ray://"):
        raise Unusable(
            f"{address} is an address for Ray Client; run rapidfire on a node of the cluster instead"
        )
    _check_token_exists()
    found = _resolved(address)
    _check_token(found)
    if not insecure and _lets_anyone_in(found):
        raise Unusable(
            f"the Ray cluster at {found} lets anyone on its network run code: start it with {MODE}=token, "
            "or accept that with `--insecure`"
        )
    try:
        ray.init(address=found, **options)
    except (ConnectionError, RayError, RuntimeError, ValueError) as error:
        raise Unusable(f"cannot connect to the Ray cluster at {found}: {_first_line(error)}") from None


def nodes() -> Iterator[NodeInfo]:
    """The nodes that are alive and have room for workers by their resources."""
    for node in ray.nodes():
        had = node["Resources"]
        cores, gpus = int(had.get("CPU", 0)), int(had.get("GPU", 0))
        if node["Alive"] and (cores or gpus):
            yield NodeInfo(node["NodeID"], _host(node), cores, gpus)


def draining() -> set[str]:
    """The ids of the nodes that are about to go."""
    return {*ray._private.state.state.get_draining_nodes()}


def place(node: str, cores: int, gpus: int, command: tuple[str, ...]) -> Any:
    """A steward on the node with this id, for which `cores` and `gpus` are reserved there.

    It is not started again when it ends, and its calls are not repeated: an order must not be given twice.
    """
    kind = ray.remote(Steward)
    return kind.options(
        num_cpus=cores,
        num_gpus=gpus,
        max_restarts=0,
        max_task_retries=0,
        max_concurrency=MANY,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    ).remote(command)


def _resolved(address: str) -> str:
    """The address as host:port. Raises Unusable."""
    try:
        return str(ray._private.services.canonicalize_bootstrap_address_or_die(address))
    except ConnectionError:
        raise Unusable(
            "no Ray cluster runs on this machine; start one with `ray start`, or use `--ray local`"
        ) from None
    except (ValueError, OSError) as error:
        raise Unusable(f"{address} is not the address of a Ray cluster: {_first_line(error)}") from None


def _check_token_exists() -> None:
    """Raise Unusable if this process should have a token and has none: Ray would end the process."""
    if os.environ.get(MODE) != "token" or os.environ.get(TOKEN):
        return
    path = Path(os.environ.get(TOKEN_PATH) or Path.home() / ".ray" / "auth_token")
    try:
        empty = not path.read_text("utf-8").strip()
    except (OSError, ValueError):
        raise Unusable(f"no token for the Ray cluster: {path} cannot be read; set {_PLACES}") from None
    if empty:
        raise Unusable(f"no token for the Ray cluster: {path} is empty; set {_PLACES}")


def _check_token(address: str) -> None:
    """Connect with this process's token. Raises Unusable."""
    try:
        ray._raylet.GcsClient(address=address)
    except AuthenticationError:
        has = (
            "does not accept the token of this user"
            if os.environ.get(MODE) == "token"
            else "asks for a token"
        )
        raise Unusable(f"the Ray cluster at {address} {has}: set {MODE}=token, and {_PLACES}") from None
    except (RayError, RuntimeError, ConnectionError) as error:
        raise Unusable(f"no Ray cluster answers at {address}: {_first_line(error)}") from None


def _lets_anyone_in(address: str) -> bool:
    """Whether a client without a token is accepted; unknown counts as yes."""
    environment = {name: value for name, value in os.environ.items() if name != TOKEN} | {MODE: "disabled"}
    command = [sys.executable, "-c", _UNKNOWN, address]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=CONNECTING, check=False)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != PROTECTED


def _host(node: dict[str, Any]) -> str:
    """The name of the node's machine, and its id: several nodes may share a machine."""
    return f"{node['NodeManagerHostname']}-{node['NodeID'][:6]}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
