"""A metric for each class."""

from torch import nn, randn
from torchmetrics.classification import MulticlassRecall

from rapidfire_cli.mlspec import MLSpec


class Sorting(MLSpec):
    def load_data(self, data, cfg):
        return {"train": [{"x": row, "labels": 0} for row in randn(64, 4)]}

    def create_model(self, cfg):
        return nn.Linear(4, 3)

    def compute_forward(self, model, batch, cfg):
        logits = model(batch["x"])
        return {"loss": nn.functional.cross_entropy(logits, batch["labels"]), "logits": logits}

    def metrics(self, cfg):
        return {"found": MulticlassRecall(3, average=None)}
