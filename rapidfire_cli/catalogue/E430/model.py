"""A model whose width is a knob."""

from torch import nn, randn
from torch.nn.functional import mse_loss

from rapidfire_cli.mlspec import MLSpec


class Wide(MLSpec):
    def load_data(self, data, cfg):
        return {"train": [{"x": row} for row in randn(64, 4)]}

    def create_model(self, cfg):
        width = cfg["user_knobs"]["width"]
        return nn.Sequential(nn.Linear(4, width), nn.Linear(8, 4))

    def compute_forward(self, model, batch, cfg):
        return {"loss": mse_loss(model(batch["x"]), batch["x"])}
