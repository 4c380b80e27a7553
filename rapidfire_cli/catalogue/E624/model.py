"""A model that learns to double a number, and reads the label of every row."""

import torch
from torch import nn

from rapidfire_cli.mlspec import MLSpec


class Doubling(MLSpec):
    def load_data(self, data, cfg):
        return {"train": [{"x": row / 64, "label": row / 32} for row in range(64)]}

    def row_prep(self, row, cfg, mode):
        return {"x": torch.tensor([row["x"]]), "y": torch.tensor([row["label"]])}

    def create_model(self, cfg):
        return nn.Linear(1, 1)

    def compute_forward(self, model, batch, cfg):
        values = model(batch["x"])
        return {"loss": nn.functional.mse_loss(values, batch["y"]), "logits": values}
