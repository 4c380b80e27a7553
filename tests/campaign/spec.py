"""A small MLSpec whose training draws randomness and takes its time without taking the processor's."""

import time

import torch
from torch import nn

from rapidfire_cli.mlspec import MLSpec


class Small(MLSpec):
    """A learnable question about 8 numbers, 4 steps per epoch at batches of 32."""

    def load_data(self, data, cfg):
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(192, 8, generator=generator)
        rows = [{"x": row, "labels": (row[0] > row[1]).long()} for row in inputs]
        return {"train": rows[:128], "validation": rows[128:]}

    def create_model(self, cfg):
        return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Dropout(0.1), nn.Linear(16, 2))

    def compute_forward(self, model, batch, cfg):
        time.sleep(cfg["user_knobs"]["pause"])
        logits = model(batch["x"])
        return {"loss": nn.functional.cross_entropy(logits, batch["labels"]), "logits": logits}
