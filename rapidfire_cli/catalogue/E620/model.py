"""A model whose loss is NaN, so that no epoch is the best one."""

from torch import nn, randn

from rapidfire_cli.mlspec import MLSpec


class Lost(MLSpec):
    def load_data(self, data, cfg):
        return {"train": [{"x": row} for row in randn(64, 4)]}

    def create_model(self, cfg):
        return nn.Linear(4, 4)

    def compute_forward(self, model, batch, cfg):
        return {"loss": model(batch["x"]).mean() * float("nan")}
