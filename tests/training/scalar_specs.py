"""MLSpecs that return numbers beside the loss, or say themselves what metrics see."""

import torch

from tests.training.specs import Blobs, Plain


class Parts(Blobs):
    """A loss of parts, each returned beside it: tensors, Python numbers, and what is neither."""

    def compute_forward(self, model, batch, cfg):
        outputs = super().compute_forward(model, batch, cfg)
        rows = len(batch["x"])
        return {
            "loss": outputs["loss"],
            "logits": outputs["logits"],
            "kl": outputs["logits"].square().mean(),
            "rows": rows,
            "count": torch.tensor(rows, dtype=torch.int32),
            "weight": 3.0 * rows,
            "features": outputs["logits"][:1, 0],
            "note": "text",
            "flag": True,
            **({"rare": 1.5} if rows < 8 else {}),
        }


class Colliding(Plain):
    def compute_forward(self, model, batch, cfg):
        return {**super().compute_forward(model, batch, cfg), "top1_accuracy": 0.5}


class Fields(Plain):
    """Returns what a model of transformers returned, which has a number of its own."""

    def compute_forward(self, model, batch, cfg):
        from transformers.modeling_outputs import MoECausalLMOutputWithPast

        outputs = super().compute_forward(model, batch, cfg)
        return MoECausalLMOutputWithPast(**outputs, aux_loss=torch.tensor(1.0))


class TwoHeads(Blobs):
    """Its metrics are of the second head, whose logits have another name."""

    def compute_forward(self, model, batch, cfg):
        outputs = super().compute_forward(model, batch, cfg)
        return {"loss": outputs["loss"], "first": outputs["logits"], "second": -outputs["logits"]}

    def metric_inputs(self, outputs, batch, cfg):
        form = cfg["user_knobs"].get("form", "pair")
        whole = {"none": None, "one": outputs["first"], "mixed": (outputs["second"], "labels")}
        return whole[form] if form in whole else (outputs["second"], batch["labels"])
