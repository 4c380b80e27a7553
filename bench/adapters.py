"""LoRA runs on one pretrained base of GPT-2's size, in the directory that `user_knobs.base` names."""

import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from rapidfire_cli.mlspec import MLSpec

BASE = GPT2Config(
    vocab_size=4096, n_positions=64, bos_token_id=0, eos_token_id=0
)  # else the usual: 12 layers of 768


def write_base(directory: str) -> None:
    """Write the base, with random weights."""
    torch.manual_seed(0)
    GPT2LMHeadModel(BASE).save_pretrained(directory)


class AdapterSpec(MLSpec):
    def load_data(self, data, cfg):
        rows = torch.arange(32 * 16).reshape(32, 16) % BASE.vocab_size
        return {"train": [{"input_ids": row} for row in rows]}

    def create_model(self, cfg):
        base = AutoModelForCausalLM.from_pretrained(cfg["user_knobs"]["base"], dtype=torch.float32)
        adapter = LoraConfig(r=8, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)
        return get_peft_model(base, adapter)

    def compute_forward(self, model, batch, cfg):
        logits = model(**batch).logits[:, :-1]
        return {"loss": functional.cross_entropy(logits.flatten(0, 1), batch["input_ids"][:, 1:].flatten())}
