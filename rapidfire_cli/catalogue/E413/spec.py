from torch import nn

from rapidfire_cli.mlspec import MLSpec


class Forgetful(MLSpec):
    def create_model(self):
        return nn.Linear(8, 1)

    def compute_forward(self, model, batch, cfg):
        return {"loss": model(batch).mean()}
