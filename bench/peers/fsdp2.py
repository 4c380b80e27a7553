"""The work of `bench.gang` as a plain script for torchrun: FSDP2, as torch's tutorial has it."""

import json
import os
import time
from statistics import median

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import functional

from bench.gang_work import BATCH, EPOCHS, LR, Layer, data, model


def main() -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank, size = distributed.get_rank(), distributed.get_world_size()
    mesh = init_device_mesh("cpu", (size,))
    torch.manual_seed(0)
    made = model()
    for module in made.modules():
        if isinstance(module, Layer):
            fully_shard(module, mesh=mesh)
    fully_shard(made, mesh=mesh)
    optimizer = torch.optim.AdamW(made.parameters(), lr=LR)
    rows, labels = data()
    took = []
    for _ in range(EPOCHS):
        order = torch.randperm(len(rows))
        began = time.perf_counter()
        total = 0.0
        for batch in torch.split(order, BATCH):
            mine = torch.tensor_split(batch, size)[rank]
            optimizer.zero_grad()
            loss = functional.cross_entropy(made(rows[mine]), labels[mine])
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
        took.append((time.perf_counter() - began) / (len(rows) // BATCH))
    if rank == 0:
        print(json.dumps({"step": median(took[1:])}), flush=True)
    distributed.destroy_process_group()


if __name__ == "__main__" and "RANK" in os.environ:
    main()
