"""A metric of the user's own."""

from torch import nn, randn
from torchmetrics import MeanMetric

from rapidfire_cli.mlspec import MLSpec


class Margin(MeanMetric):
    def update(self, logits, labels):
        super().update(logits[:, 0] - logits[:, 1])


class Margins(MLSpec):
    def load_data(self, data, cfg):
        return {"train": [{"x": row, "labels": 0} for row in randn(64, 4)]}

    def create_model(self, cfg):
        return nn.Linear(4, 2)

    def compute_forward(self, model, batch, cfg):
        logits = model(batch["x"])
        return {"loss": nn.functional.cross_entropy(logits, batch["labels"]), "logits": logits}

    def metrics(self, cfg):
        return {"margin": Margin()}
