"""The device mesh of a gang, over which torch shards a model.

torch's sharding finds process groups by name, and a mesh is made of the default process group. Here a gang's
own group is registered under the gang's name, and is the default group only while the mesh is made: libraries
that look for a default group (torchmetrics, transformers) would wait for ranks that do not call them.
"""

from typing import Any

import torch
from torch import distributed
from torch.distributed import distributed_c10d
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from rapidfire_cli.training.gang import as_default
from rapidfire_cli.training.share import Share

dist: Any = distributed  # its stores and process groups have no annotations
c10d: Any = distributed_c10d


def joined(name: str, share: Share, device: torch.device, backend: Any) -> tuple[DeviceMesh, Any]:
    """Return a mesh of a gang's ranks and its process group, which sends through `backend`."""
    kind = "gloo" if device.type == "cpu" else "nccl"
    store, size = dist.HashStore(), share.size
    group = dist.ProcessGroup(store, share.rank, size)
    group._set_default_backend(c10d.Backend.backend_type_map[kind])
    group._register_backend(torch.device(device.type), c10d.Backend.backend_type_map[kind], backend)
    group._set_group_name(name)
    c10d._register_process_group(name, group)
    known = c10d._world
    known.pg_map[group] = (kind, store)
    known.pg_names[group] = name
    known.pg_group_ranks[group] = {rank: rank for rank in range(size)}
    known.pg_backend_config[group] = f"{device.type}:{kind}"
    with as_default(group):
        return init_device_mesh(device.type, (size,)), group


def parted(group: Any) -> None:
    """Forget the process group of a mesh that has served its purpose."""
    known = c10d._world
    c10d._unregister_process_group(known.pg_names[group])
    for table in (known.pg_map, known.pg_names, known.pg_group_ranks, known.pg_backend_config):
        table.pop(group, None)
