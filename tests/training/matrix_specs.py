"""One small MLSpec for each way in which real models differ from a stack of layers."""

from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from transformers import GPT2Config, GPT2LMHeadModel

from tests.training.specs import CLASSES, Blobs, Tied

WORDS, LENGTH = 11, 6


class Half(Blobs):
    """Its weights are bfloat16, too."""

    def create_model(self, cfg):
        return super().create_model(cfg).bfloat16()

    def compute_forward(self, model, batch, cfg):
        return super().compute_forward(model, {**batch, "x": batch["x"].bfloat16()}, cfg)


class Normed(Blobs):
    """Weights that are computed from others: by their norm, and by the largest singular value."""

    def create_model(self, cfg):
        first, second = nn.Linear(6, 8), nn.Linear(8, CLASSES)
        wrapped = parametrizations.weight_norm(first), parametrizations.spectral_norm(second)
        return nn.Sequential(wrapped[0], nn.Tanh(), nn.Dropout(0.2), wrapped[1])


class Buffered(Tied):
    """Tied weights, normalisation over batches, and a buffer that no file of weights holds."""

    def create_model(self, cfg):
        model = super().create_model(cfg)
        model.append(nn.BatchNorm1d(CLASSES))
        return model


class Bags(Blobs):
    """Sums of embeddings, whose gradients are sparse, before a layer."""

    def create_model(self, cfg):
        return nn.Sequential(nn.EmbeddingBag(WORDS, 4, sparse=True, mode="sum"), nn.Linear(4, CLASSES))

    def compute_forward(self, model, batch, cfg):
        return super().compute_forward(model, {**batch, "x": words(batch["x"])}, cfg)


class Language(Blobs):
    """A GPT-2 with dropout, whose embedding is tied; activations are computed again for the gradient."""

    def create_model(self, cfg):
        config = GPT2Config(
            vocab_size=WORDS,
            n_positions=LENGTH,
            n_embd=8,
            n_layer=2,
            n_head=2,
            bos_token_id=0,
            eos_token_id=0,
            use_cache=False,
            resid_pdrop=0.2,
        )
        model = GPT2LMHeadModel(config)
        model.gradient_checkpointing_enable({"use_reentrant": cfg["user_knobs"].get("reentrant", False)})
        return model

    def compute_forward(self, model, batch, cfg):
        tokens = words(batch["x"])
        outputs = model(input_ids=tokens, labels=tokens)
        return {"loss": outputs.loss, "logits": outputs.logits, "labels": tokens}


class Adapted(Language):
    """The same with the base frozen, adapters on its layers, and a bias that trains beside them."""

    def create_model(self, cfg):
        from peft import LoraConfig, get_peft_model

        model = super().create_model(cfg)
        model.enable_input_require_grads()
        adapters = LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, bias="lora_only")
        return get_peft_model(model, adapters)


def words(x):
    """Numbers as tokens (B, LENGTH)."""
    return (functional.hardtanh(x, -2, 2) * 2 + 5).long()
