"""A model that takes its temperature from an iterator, which no checkpoint can hold."""

from itertools import cycle

from torch import nn, randn
from torch.nn.functional import mse_loss

from rapidfire_cli.mlspec import MLSpec


class Tempered(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)
        self.temperatures = cycle(range(1, 8))

    def forward(self, x):
        return super().forward(x) / next(self.temperatures)


class Cycling(MLSpec):
    def load_data(self, data, cfg):
        return {"train": [{"x": row} for row in randn(64, 4)]}

    def create_model(self, cfg):
        return Tempered()

    def compute_forward(self, model, batch, cfg):
        return {"loss": mse_loss(model(batch["x"]), batch["x"])}
