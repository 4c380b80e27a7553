"""A model of some 10 million parameters: `user_knobs.width` squared, twice, and a training set of zeros."""

import torch
from torch import nn
from torch.nn import functional

from rapidfire_cli.mlspec import MLSpec


class LargeSpec(MLSpec):
    def load_data(self, data, cfg):
        rows = cfg["user_knobs"]["steps"] * cfg["train"]["batch_size"]
        return {"train": [{"x": torch.tensor(float(row % 7))} for row in range(rows)]}

    def create_model(self, cfg):
        width = cfg["user_knobs"]["width"]
        return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def compute_forward(self, model, batch, cfg):
        inputs = batch["x"][:, None].expand(-1, cfg["user_knobs"]["width"])
        return {"loss": functional.mse_loss(model(inputs), inputs)}
