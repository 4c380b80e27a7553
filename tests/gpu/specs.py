"""MLSpecs that keep a GPU busy, or need too much of it."""

import time

import torch
from torch import nn
from torch.nn import functional

from rapidfire_cli.mlspec import MLSpec
from tests.training.specs import Blobs

WIDTH = 2048


class Busy(MLSpec):
    """Steps of matrix products; a row takes `user_knobs.seconds` to prepare, and is never the same twice."""

    def load_data(self, data, cfg):
        return {"train": [{"row": index} for index in range(cfg["user_knobs"]["rows"])]}

    def row_prep(self, row, cfg, mode):
        end = time.perf_counter() + cfg["user_knobs"]["seconds"]
        x = torch.randn(WIDTH)
        while time.perf_counter() < end:
            pass
        return {"x": x, "labels": row["row"] % 8}

    def create_model(self, cfg):
        layers = [layer for _ in range(4) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
        return nn.Sequential(*layers, nn.Linear(WIDTH, 8))

    def compute_forward(self, model, batch, cfg):
        x = batch["x"].repeat(cfg["user_knobs"]["repeats"], 1)
        logits = model(x)[: len(batch["x"])]
        return {"loss": functional.cross_entropy(logits, batch["labels"]), "logits": logits}


class Kept(Busy):
    """The same rows each time, kept on the GPU."""

    def row_prep(self, row, cfg, mode):
        generator = torch.Generator().manual_seed(row["row"])
        return {"x": torch.randn(WIDTH, generator=generator), "labels": row["row"] % 8}


class Hungry(Blobs):
    """Needs more memory than any GPU has, in its third batch."""

    def initialize_run(self, misc_path, cfg, mode):
        self.batches = 0

    def compute_forward(self, model, batch, cfg):
        self.batches += 1
        if self.batches == 3 and cfg["user_knobs"].get("hungry"):
            self.more = torch.empty(2**50, dtype=torch.uint8, device=batch["x"].device)
        return super().compute_forward(model, batch, cfg)


class Greedy(Blobs):
    """Needs the share of the GPU's memory that `user_knobs.share` says, in each batch."""

    def compute_forward(self, model, batch, cfg):
        device = batch["x"].device
        _, total = torch.cuda.mem_get_info(device)
        torch.empty(int(total * cfg["user_knobs"]["share"]), dtype=torch.uint8, device=device)
        return super().compute_forward(model, batch, cfg)
