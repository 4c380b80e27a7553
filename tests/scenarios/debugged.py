"""An MLSpec with a breakpoint in it, and one that fails."""

from tests.scenarios.specs import Tiny, first


class Breaking(Tiny):
    def compute_forward(self, model, batch, cfg):
        answer = 6 * len(cfg["user_knobs"]["name"])
        if first("stopped"):
            breakpoint()
        return super().compute_forward(model, batch, cfg) | {"answer": answer}


class Raising(Tiny):
    def create_model(self, cfg):
        raise KeyError(cfg["user_knobs"]["name"])
