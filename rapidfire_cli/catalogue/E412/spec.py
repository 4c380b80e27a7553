from rapidfire_cli.mlspec import MLSpec


class WithoutModel(MLSpec):
    def compute_forward(self, model, batch, cfg):
        return {"loss": model(batch)}
