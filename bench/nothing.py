"""An MLSpec whose runs do nothing, so that what a run costs by itself is left."""

import torch

from rapidfire_cli.mlspec import MLSpec


class NothingSpec(MLSpec):
    """A row or so, one weight, no gradient worth the name."""

    def load_data(self, data, cfg):
        return {"train": [{}] * (data or {}).get("rows", 1)}

    def create_model(self, cfg):
        return torch.nn.Linear(1, 1, bias=False)

    def compute_forward(self, model, batch, cfg):
        return {"loss": model.weight.sum()}
