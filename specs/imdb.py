"""Texts by class, for a BERT: a new small one, or a pretrained one from a local directory."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from rapidfire_cli.mlspec import MLSpec

PAD, START, END = SPECIAL = ["[PAD]", "[CLS]", "[SEP]"]


class IMDBSpec(MLSpec):
    """Rows have a `text` and a `label`; they come from csv, json or parquet.

    `user_knobs.num_classes` is the number of labels, `max_length` the most tokens of a text. `width` and
    `depth` shape a new model, whose tokenizer of `vocab_size` entries is trained on the texts. `pretrained`
    is the directory of a model and its tokenizer to start from instead.
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
            self.tokenizer = PreTrainedTokenizerFast(tokenizer_file=file, pad_token=PAD)

    def row_prep(self, row, cfg, mode):
        """The tokens of one text (T,), and its class if it has one."""
        longest = cfg["user_knobs"]["max_length"]
        tokens = self.tokenizer(row["text"], truncation=True, max_length=longest)["input_ids"]
        prepared = {"tokens": torch.tensor(tokens)}
        return {**prepared, "labels": row["label"]} if "label" in row else prepared

    def collate(self, rows, cfg):
        """Tokens (B, T), padded to the longest text of the batch, with a mask of what is text."""
        texts = [row["tokens"] for row in rows]
        batch = {
            "input_ids": pad_sequence(texts, batch_first=True, padding_value=self.tokenizer.pad_token_id),
            "attention_mask": pad_sequence([torch.ones_like(text) for text in texts], batch_first=True),
        }
        return (
            {**batch, "labels": torch.tensor([row["labels"] for row in rows])}
            if "labels" in rows[0]
            else batch
        )

    def create_model(self, cfg):
        """From tokens (B, T) to logits (B, num_classes)."""
        knobs = cfg["user_knobs"]
        if "pretrained" in knobs:
            return AutoModelForSequenceClassification.from_pretrained(
                knobs["pretrained"],
                num_labels=knobs["num_classes"],
                local_files_only=True,
                dtype=torch.float32,
            )
        width = knobs["width"]
        config = BertConfig(
            vocab_size=len(self.tokenizer),
            max_position_embeddings=knobs["max_length"],
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=knobs["depth"],
            num_attention_heads=width // 16,
            initializer_range=0.5 * width**-0.5,  # 0.02, the default, suits a width of 600
            num_labels=knobs["num_classes"],
        )
        return BertForSequenceClassification(config)

    def compute_forward(self, model, batch, cfg):
        """Cross entropy over the classes; without labels, logits alone."""
        return model(**batch)


def trained_tokenizer(texts, size):
    """A byte-level BPE tokenizer; its training always gives the same result, which WordPiece's does not."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    marks = [(mark, tokenizer.token_to_id(mark)) for mark in (START, END)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=marks)
    return tokenizer
