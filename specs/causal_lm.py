"""Language models on text files: a new small GPT-2, or a pretrained one, whole or by LoRA adapters."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from rapidfire_cli.mlspec import MLSpec

END = "<|endoftext|>"
IGNORED = -100  # a label that counts in no loss and no metric


class CausalLMSpec(MLSpec):
    """Rows have a `text`, such as the paragraphs of text files.

    `user_knobs.context` is the most tokens of a row. `width` and `depth` shape a new model, whose tokenizer
    of `vocab_size` entries is trained on the texts. `pretrained` is the directory of a model with its
    tokenizer to start from instead. `adapter` holds the arguments of a `peft.LoraConfig`: then only the
    adapter is trained.
    """

    def prepare(self, misc_path, data, cfgs):
        """Train the tokenizers of new models, one for each vocabulary size."""
        texts = self.load_data(data, cfgs[0])["train"]["text"]
        for size in {
            cfg["user_knobs"]["vocab_size"] for cfg in cfgs if "pretrained" not in cfg["user_knobs"]
        }:
            trained_tokenizer(texts, size).save(str(misc_path / f"tokenizer-{size}.json"))

    def initialize_run(self, misc_path, cfg, mode):
        """Load the tokenizer of the run."""
        knobs = cfg["user_knobs"]
        if "pretrained" in knobs:
            self.tokenizer = AutoTokenizer.from_pretrained(knobs["pretrained"], local_files_only=True)
        else:
            file = str(misc_path / f"tokenizer-{knobs['vocab_size']}.json")
            self.tokenizer = PreTrainedTokenizerFast(tokenizer_file=file, eos_token=END)

    def row_prep(self, row, cfg, mode):
        """The tokens of one text and the end mark (T,), T at most `context`."""
        tokens = self.tokenizer(row["text"] + self.tokenizer.eos_token)["input_ids"]
        return {"tokens": torch.tensor(tokens[: cfg["user_knobs"]["context"]])}

    def collate(self, rows, cfg):
        """Tokens (B, T), padded to the longest text of the batch; labels are the tokens, padding left out."""
        texts = [row["tokens"] for row in rows]
        return {
            "input_ids": pad_sequence(texts, batch_first=True),
            "attention_mask": pad_sequence([torch.ones_like(text) for text in texts], batch_first=True),
            "labels": pad_sequence(texts, batch_first=True, padding_value=IGNORED),
        }

    def create_model(self, cfg):
        """From tokens (B, T) to logits (B, T, vocabulary) of the next ones."""
        knobs = cfg["user_knobs"]
        if "pretrained" in knobs:
            model = AutoModelForCausalLM.from_pretrained(
                knobs["pretrained"], local_files_only=True, dtype=torch.float32
            )
        else:
            model = gpt2(len(self.tokenizer), self.tokenizer.eos_token_id, knobs)
        return with_adapter(model, knobs["adapter"]) if "adapter" in knobs else model

    def compute_forward(self, model, batch, cfg):
        """Cross entropy of each next token; a batch weighs as much as it has of them."""
        outputs = model(**batch)
        if "labels" not in batch:
            return {"logits": outputs.logits}
        weight = (batch["labels"][:, 1:] != IGNORED).sum()
        return {"loss": outputs.loss, "logits": outputs.logits, "weight": weight}


def gpt2(vocabulary, end, knobs):
    """A GPT-2 with heads of 16 dimensions."""
    width = knobs["width"]
    config = GPT2Config(
        vocab_size=vocabulary,
        bos_token_id=end,
        eos_token_id=end,
        n_positions=knobs["context"],
        n_embd=width,
        n_layer=knobs["depth"],
        n_head=width // 16,
        initializer_range=0.5 * width**-0.5,  # 0.02, the default, suits a width of 600
    )
    return GPT2LMHeadModel(config)


def with_adapter(model, arguments):
    """The model frozen, with LoRA adapters to train."""
    try:
        from peft import LoraConfig, get_peft_model
    except ModuleNotFoundError:
        raise ModuleNotFoundError("LoRA needs peft: pip install 'rapidfire-cli[peft]'") from None
    return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **arguments))


def trained_tokenizer(texts, size):
    """A byte-level BPE tokenizer, as GPT-2's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
