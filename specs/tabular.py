"""Tables: predict one column, a number or a class, from the others with an MLP."""

import json

import numpy
import torch
from torch import nn
from torch.nn import functional

from rapidfire_cli.mlspec import MLSpec


class TabularSpec(MLSpec):
    """`user_knobs.target` is the column to predict: a class if it is text, otherwise a number.

    Of the other columns, numbers are normalised and texts are embedded. `width`, `depth` and `dropout` shape
    the MLP, `embedding` is the number of dimensions per text column. The rows come from csv or parquet.
    """

    def prepare(self, misc_path, data, cfgs):
        """Save what is known of each column of the train split: mean and deviation, or the texts."""
        rows = self.load_data(data, cfgs[0])["train"]
        columns = {name: described(rows[name]) for name in rows.column_names}
        (misc_path / "columns.json").write_text(json.dumps(columns))

    def initialize_run(self, misc_path, cfg, mode):
        """Separate the target from the columns that it is predicted from."""
        columns = json.loads((misc_path / "columns.json").read_text())
        self.target = columns.pop(cfg["user_knobs"]["target"])
        self.classes = self.target.get("texts")
        self.numbers = {name: column for name, column in columns.items() if "mean" in column}
        self.categories = {name: column["texts"] for name, column in columns.items() if "texts" in column}

    def row_prep(self, row, cfg, mode):
        """Normalised numbers (N,), positions of texts (K,) and, if the row has it, the target."""
        numbers = [normalised(row[name], column) for name, column in self.numbers.items()]
        texts = [
            known.index(row[name]) + 1 if row[name] in known else 0 for name, known in self.categories.items()
        ]
        prepared = {"numbers": torch.tensor(numbers), "texts": torch.tensor(texts, dtype=torch.long)}
        target = row.get(cfg["user_knobs"]["target"])
        if target is None:
            return prepared
        return {**prepared, "labels": self.classes.index(target) if self.classes else float(target)}

    def create_model(self, cfg):
        """From numbers (B, N) and texts (B, K) to logits (B, C) or numbers (B, 1)."""
        texts = [len(known) for known in self.categories.values()]
        return TabularModel(len(self.numbers), texts, len(self.classes or ["number"]), cfg["user_knobs"])

    def compute_forward(self, model, batch, cfg):
        """Cross entropy, or squared error in units of the target's variance; without labels, logits alone."""
        logits = model(batch["numbers"], batch["texts"])
        if not self.classes:
            logits = logits.squeeze(1) * self.target["deviation"] + self.target["mean"]
        if "labels" not in batch:
            return {"logits": logits}
        if self.classes:
            loss = functional.cross_entropy(logits, batch["labels"])
        else:
            loss = functional.mse_loss(logits, batch["labels"].float()) / self.target["deviation"] ** 2
        return {"loss": loss, "logits": logits}


class TabularModel(nn.Module):
    """An embedding per text column, then an MLP over these and the numbers."""

    def __init__(self, numbers, texts, outputs, knobs):
        super().__init__()
        size = knobs["embedding"] if texts else 0
        self.embeddings = nn.ModuleList(nn.Embedding(known + 1, size) for known in texts)
        layers, width = [], numbers + size * len(texts)
        for _ in range(knobs["depth"]):
            layers += [nn.Linear(width, knobs["width"]), nn.ReLU(), nn.Dropout(knobs["dropout"])]
            width = knobs["width"]
        self.layers = nn.Sequential(*layers, nn.Linear(width, outputs))

    def forward(self, numbers, texts):
        embedded = [embed(column) for embed, column in zip(self.embeddings, texts.unbind(1), strict=True)]
        return self.layers(torch.cat([numbers, *embedded], dim=1))


def described(values):
    """The texts that occur in a column, or its mean and deviation; missing values are left out."""
    present = [value for value in values if value is not None]
    if isinstance(present[0], str):
        return {"texts": sorted(set(present))}
    return {"mean": float(numpy.mean(present)), "deviation": float(numpy.std(present)) or 1.0}


def normalised(value, column):
    """The number in deviations from the mean; 0 if it is missing."""
    return 0.0 if value is None else (value - column["mean"]) / column["deviation"]
