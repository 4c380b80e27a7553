"""MLSpecs whose models are exported by the libraries that they come from."""

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from rapidfire_cli.mlspec import MLSpec


class Words(MLSpec):
    """A causal language model of transformers with two layers; whether its embeddings are tied is a knob."""

    def load_data(self, data, cfg):
        generator = torch.Generator().manual_seed(0)
        rows = [{"input_ids": torch.randint(0, 20, (6,), generator=generator)} for _ in range(16)]
        return {"train": rows[:8], "validation": rows[8:]}

    def create_model(self, cfg):
        sizes = {"vocab_size": 20, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
        tied = cfg["user_knobs"].get("tied", True)
        return LlamaForCausalLM(LlamaConfig(**sizes, **heads, tie_word_embeddings=tied))

    def compute_forward(self, model, batch, cfg):
        outputs = model(input_ids=batch["input_ids"], labels=batch["input_ids"])
        return {"loss": outputs.loss}


class Adapted(Words):
    """The same with adapters of peft."""

    def create_model(self, cfg):
        knobs = cfg["user_knobs"]
        names = {key: list(knobs[key]) for key in ("target_modules", "modules_to_save") if key in knobs}
        ensured = knobs.get("ensured", False)
        config = LoraConfig(r=2, init_lora_weights=False, ensure_weight_tying=ensured, **names)
        return get_peft_model(super().create_model(cfg), config)
